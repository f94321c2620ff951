// What a Java program does with a database, through whatever the PG... variables point at.
// One line per check: its name, a tab, and what a program would see.

import java.io.ByteArrayOutputStream;
import java.io.InputStream;
import java.io.StringReader;
import java.io.StringWriter;
import java.math.BigDecimal;
import java.sql.*;
import java.util.*;
import java.util.concurrent.*;
import org.postgresql.PGConnection;
import org.postgresql.copy.CopyManager;
import org.postgresql.largeobject.LargeObject;
import org.postgresql.largeobject.LargeObjectManager;

public class JdbcChecks {
    interface Body {
        Object see(Connection c) throws Exception;
    }

    interface Attempt {
        Object make() throws Exception;
    }

    static final Map<String, Body> CHECKS = new LinkedHashMap<>();

    static Connection connect(String... properties) throws SQLException {
        Properties all = new Properties();
        all.setProperty("user", System.getenv("PGUSER"));
        all.setProperty("password", System.getenv("PGPASSWORD"));
        all.setProperty("loginTimeout", "30");
        String database = System.getenv("PGDATABASE");
        for (int n = 0; n < properties.length; n += 2) {
            if (properties[n].equals("database")) database = properties[n + 1];
            else all.setProperty(properties[n], properties[n + 1]);
        }
        String url = "jdbc:postgresql://" + System.getenv("PGHOST") + ":" + System.getenv("PGPORT") + "/" + database;
        return DriverManager.getConnection(url, all);
    }

    static String say(Throwable t) {
        if (t instanceof BatchUpdateException) {
            int[] counts = ((BatchUpdateException) t).getUpdateCounts();
            return say(((SQLException) t).getNextException()) + " " + Arrays.toString(counts);
        }
        String state = t instanceof SQLException ? ((SQLException) t).getSQLState() : t.getClass().getSimpleName();
        return state + " " + String.valueOf(t.getMessage()).split("\n")[0];
    }

    static String fails(Attempt attempt) {
        try {
            return "no error: " + attempt.make();
        } catch (Exception e) {
            return say(e);
        }
    }

    static boolean run(Connection c, String sql) throws SQLException {
        try (Statement s = c.createStatement()) {
            return s.execute(sql);
        }
    }

    static String one(Connection c, String sql, Object... values) throws SQLException {
        try (PreparedStatement s = c.prepareStatement(sql)) {
            for (int n = 0; n < values.length; n++) s.setObject(n + 1, values[n]);
            try (ResultSet r = s.executeQuery()) {
                return r.next() ? r.getString(1) : null;
            }
        }
    }

    static List<String> all(ResultSet r) throws SQLException {
        List<String> rows = new ArrayList<>();
        int columns = r.getMetaData().getColumnCount();
        while (r.next()) {
            StringJoiner row = new StringJoiner("|");
            for (int n = 1; n <= columns; n++) row.add(r.getString(n));
            rows.add(row.toString());
        }
        return rows;
    }

    static void rowsAndTransactions() {
        CHECKS.put("types", c -> {
            run(c, "CREATE TABLE t (i int, l bigint, d numeric, f float8, b bool, s text, y bytea, at timestamptz, a int[], u uuid)");
            String sql = "INSERT INTO t VALUES (?,?,?,?,?,?,?,?,?,?)";
            try (PreparedStatement s = c.prepareStatement(sql)) {
                for (int n = 0; n < 8; n++) {
                    s.setInt(1, n);
                    s.setLong(2, Long.MIN_VALUE);
                    s.setBigDecimal(3, new BigDecimal("12345678901234567890.123"));
                    s.setDouble(4, 0.1);
                    s.setBoolean(5, true);
                    s.setString(6, n % 2 == 0 ? "snow \u2603 '" : null);
                    s.setBytes(7, new byte[] {0, 1, -1});
                    s.setTimestamp(8, new Timestamp(1709210096789L));
                    s.setArray(9, c.createArrayOf("int4", new Integer[] {1, null, 3}));
                    s.setObject(10, new UUID(0, 7));
                    s.executeUpdate();
                }
            }
            List<Object> seen = new ArrayList<>();
            for (int n = 0; n < 8; n++) {
                try (PreparedStatement s = c.prepareStatement("SELECT * FROM t WHERE i = ?")) {
                    s.setInt(1, n);
                    ResultSet r = s.executeQuery();
                    r.next();
                    seen.add(List.of(r.getInt(1), r.getLong(2), r.getBigDecimal(3), r.getDouble(4), r.getBoolean(5)));
                    seen.add(Arrays.asList(r.getString(6), r.getBytes(7).length, r.getTimestamp(8).getTime(), r.getArray(9), r.getObject(10)));
                }
            }
            return seen;
        });
        CHECKS.put("metadata", c -> {
            run(c, "CREATE TABLE meta (id serial PRIMARY KEY, name varchar(20) NOT NULL)");
            DatabaseMetaData m = c.getMetaData();
            List<Object> seen = new ArrayList<>();
            try (ResultSet r = m.getColumns(null, "public", "meta", "%")) {
                while (r.next()) seen.add(r.getString("COLUMN_NAME") + " " + r.getString("TYPE_NAME") + " " + r.getInt("COLUMN_SIZE"));
            }
            try (ResultSet r = m.getPrimaryKeys(null, "public", "meta")) {
                while (r.next()) seen.add(r.getString("PK_NAME"));
            }
            try (PreparedStatement s = c.prepareStatement("SELECT id, name FROM meta WHERE name = ?")) {
                seen.add(s.getParameterMetaData().getParameterTypeName(1) + " " + s.getMetaData().getColumnTypeName(2));
            }
            return seen;
        });
        CHECKS.put("generated keys", c -> {
            run(c, "CREATE TABLE keys (id serial, name text)");
            try (PreparedStatement s = c.prepareStatement("INSERT INTO keys (name) VALUES (?), ('b')", Statement.RETURN_GENERATED_KEYS)) {
                s.setString(1, "a");
                s.executeUpdate();
                return all(s.getGeneratedKeys());
            }
        });
        CHECKS.put("transactions and savepoints", c -> {
            run(c, "CREATE TABLE save (n int PRIMARY KEY)");
            c.setAutoCommit(false);
            run(c, "INSERT INTO save VALUES (1)");
            Savepoint s = c.setSavepoint("s");
            String first = fails(() -> run(c, "INSERT INTO save VALUES (1)"));
            String second = fails(() -> run(c, "SELECT 1"));
            c.rollback(s);
            run(c, "INSERT INTO save VALUES (2)");
            c.commit();
            run(c, "INSERT INTO save VALUES (3)");
            c.rollback();
            String seen = one(c, "SELECT array_agg(n ORDER BY n) FROM save");
            c.setAutoCommit(true);
            return List.of(first, second, seen);
        });
        CHECKS.put("isolation and read only", c -> {
            c.setTransactionIsolation(Connection.TRANSACTION_SERIALIZABLE);
            c.setAutoCommit(false);
            c.setReadOnly(true);
            List<Object> seen = new ArrayList<>();
            seen.add(one(c, "SHOW transaction_isolation") + one(c, "SHOW transaction_read_only"));
            seen.add(fails(() -> run(c, "CREATE TABLE never (n int)")));
            c.rollback();
            c.setReadOnly(false);
            c.setTransactionIsolation(Connection.TRANSACTION_READ_COMMITTED);
            seen.add(c.getTransactionIsolation() + one(c, "SHOW transaction_isolation"));
            c.rollback();
            c.setAutoCommit(true);
            c.setReadOnly(true);
            seen.add(one(c, "SHOW transaction_read_only") + fails(() -> run(c, "CREATE TABLE never (n int)")));
            return seen;
        });
        CHECKS.put("several results", c -> {
            try (Statement s = c.createStatement()) {
                List<Object> seen = new ArrayList<>();
                boolean rows = s.execute("SELECT 1; CREATE TABLE sev (n int); INSERT INTO sev VALUES (1), (2); SELECT n FROM sev");
                for (;;) {
                    if (rows) seen.add(all(s.getResultSet()));
                    else if (s.getUpdateCount() >= 0) seen.add(s.getUpdateCount());
                    else break;
                    rows = s.getMoreResults();
                }
                seen.add(fails(() -> s.execute("INSERT INTO sev VALUES (3); SELECT 1/0; INSERT INTO sev VALUES (4)")));
                seen.add(one(c, "SELECT count(*) FROM sev"));
                return seen;
            }
        });
    }

    static void statements() {
        CHECKS.put("prepared by the server", c -> {
            int sum = 0;
            try (PreparedStatement s = c.prepareStatement("SELECT ?::int + 1")) {
                for (int n = 0; n < 20; n++) {
                    s.setInt(1, n);
                    ResultSet r = s.executeQuery();
                    r.next();
                    sum += r.getInt(1);
                }
            }
            return sum + " " + one(c, "SELECT string_agg(name || ' ' || statement, ',') FROM pg_prepared_statements");
        });
        CHECKS.put("many prepared at once", c -> {
            c.unwrap(PGConnection.class).setPrepareThreshold(1);
            List<PreparedStatement> statements = new ArrayList<>();
            for (int n = 0; n < 300; n++) statements.add(c.prepareStatement("SELECT " + n + " + ?::int"));
            long sum = 0;
            for (int round = 0; round < 3; round++)
                for (PreparedStatement s : statements) {
                    s.setInt(1, round);
                    ResultSet r = s.executeQuery();
                    r.next();
                    sum += r.getInt(1);
                }
            return sum;
        });
        CHECKS.put("a plan whose result changes", c -> {
            run(c, "CREATE TABLE shape (a int); INSERT INTO shape VALUES (1)");
            c.unwrap(PGConnection.class).setPrepareThreshold(1);
            PreparedStatement s = c.prepareStatement("SELECT * FROM shape WHERE a >= ?");
            List<Object> seen = new ArrayList<>();
            for (int n = 0; n < 3; n++) {
                s.setInt(1, 0);
                seen.add(all(s.executeQuery()));
            }
            run(c, "ALTER TABLE shape ADD b int DEFAULT 5");
            seen.add(fails(() -> all(s.executeQuery())));
            c.setAutoCommit(false);
            run(c, "ALTER TABLE shape ADD d int DEFAULT 6");
            seen.add(fails(() -> all(s.executeQuery())));
            seen.add(fails(() -> all(s.executeQuery())));
            c.rollback();
            return seen;
        });
        CHECKS.put("deallocate and discard beneath the driver", c -> {
            c.unwrap(PGConnection.class).setPrepareThreshold(1);
            PreparedStatement s = c.prepareStatement("SELECT ?::int * 2");
            List<Object> seen = new ArrayList<>();
            for (String text : new String[] {"SELECT 1", "DEALLOCATE ALL", "DISCARD ALL", "SELECT 2"}) {
                run(c, text);
                s.setInt(1, 4);
                seen.add(fails(() -> all(s.executeQuery())));
            }
            return seen;
        });
        CHECKS.put("batches", c -> {
            run(c, "CREATE TABLE batch (n int PRIMARY KEY, s text)");
            try (PreparedStatement s = c.prepareStatement("INSERT INTO batch VALUES (?, ?)")) {
                for (int n = 0; n < 1000; n++) {
                    s.setInt(1, n);
                    s.setString(2, "s".repeat(n));
                    s.addBatch();
                }
                int done = s.executeBatch().length;
                for (int n : new int[] {5000, 5001, 1, 5002}) {
                    s.setInt(1, n);
                    s.setString(2, "");
                    s.addBatch();
                }
                String bad = fails(() -> s.executeBatch());
                try (Statement mixed = c.createStatement()) {
                    mixed.addBatch("UPDATE batch SET s = 'x' WHERE n < 3");
                    mixed.addBatch("SELECT 1");
                    mixed.addBatch("DELETE FROM batch WHERE n = 3");
                    return List.of(done, bad, one(c, "SELECT count(*) FROM batch"), fails(() -> Arrays.toString(mixed.executeBatch())));
                }
            }
        });
        CHECKS.put("batches as one insert", c -> {
            try (Connection d = connect("reWriteBatchedInserts", "true")) {
                run(d, "CREATE TABLE rewritten (n int)");
                PreparedStatement s = d.prepareStatement("INSERT INTO rewritten VALUES (?)");
                for (int n = 0; n < 777; n++) {
                    s.setInt(1, n);
                    s.addBatch();
                }
                s.executeBatch();
                return one(d, "SELECT count(*), sum(n) FROM rewritten");
            }
        });
        CHECKS.put("fetched in parts", c -> {
            c.setAutoCommit(false);
            try (Statement s = c.createStatement()) {
                s.setFetchSize(50);
                ResultSet r = s.executeQuery("SELECT n, repeat('x', n) FROM generate_series(1, 1234) n");
                long sum = 0;
                while (r.next()) {
                    sum += r.getInt(1) + r.getString(2).length();
                    if (r.getInt(1) % 400 == 0) one(c, "SELECT ?::int", 1);
                }
                ResultSet left = s.executeQuery("SELECT generate_series(1, 1000)");
                left.next();
                left.close();
                c.commit();
                return sum;
            }
        });
        CHECKS.put("cursors of the server", c -> {
            run(c, "CREATE FUNCTION cursor_of() RETURNS refcursor LANGUAGE plpgsql AS 'DECLARE r refcursor; BEGIN OPEN r FOR SELECT generate_series(1, 5); RETURN r; END'");
            c.setAutoCommit(false);
            try (CallableStatement s = c.prepareCall("{? = call cursor_of()}")) {
                s.registerOutParameter(1, Types.REF_CURSOR);
                s.execute();
                List<String> seen = all((ResultSet) s.getObject(1));
                c.commit();
                Statement hold = c.createStatement(ResultSet.TYPE_FORWARD_ONLY, ResultSet.CONCUR_READ_ONLY, ResultSet.HOLD_CURSORS_OVER_COMMIT);
                hold.setFetchSize(2);
                ResultSet r = hold.executeQuery("SELECT generate_series(1, 5)");
                r.next();
                c.commit();
                return List.of(seen, all(r));
            }
        });
        CHECKS.put("simple protocol", c -> {
            try (Connection d = connect("preferQueryMode", "simple")) {
                return one(d, "SELECT ?::int + ?", 3, 4) + fails(() -> one(d, "SELECT 1/?", 0)) + one(d, "SELECT ?", "it's");
            }
        });
    }

    static void session() {
        CHECKS.put("settings", c -> {
            List<Object> seen = new ArrayList<>();
            run(c, "SET work_mem = '3MB'; SET search_path = pg_catalog");
            Thread.sleep(20);
            seen.add(one(c, "SHOW work_mem") + " " + one(c, "SHOW search_path"));
            c.setSchema("information_schema");
            seen.add(c.getSchema() + " " + one(c, "SELECT current_schema()"));
            run(c, "RESET ALL");
            seen.add(one(c, "SHOW search_path"));
            c.setClientInfo("ApplicationName", "java one");
            seen.add(one(c, "SHOW application_name") + " " + c.getClientInfo("ApplicationName"));
            run(c, "SET ROLE pg_monitor");
            Thread.sleep(20);
            seen.add(one(c, "SELECT current_user"));
            return seen;
        });
        CHECKS.put("settings of the connection", c -> {
            try (Connection d = connect("options", "-c work_mem=7MB -c statement_timeout=9s", "ApplicationName", "named", "currentSchema", "pg_catalog", "readOnly", "true")) {
                String before = one(d, "SHOW work_mem") + one(d, "SHOW application_name") + one(d, "SHOW search_path");
                run(d, "SET work_mem = '8MB'; SET application_name = 'x'; SET statement_timeout = 0");
                run(d, "RESET work_mem; RESET application_name; RESET statement_timeout");
                return before + one(d, "SHOW work_mem") + one(d, "SHOW application_name") + one(d, "SHOW statement_timeout");
            }
        });
        CHECKS.put("temporary tables", c -> {
            run(c, "CREATE TEMP TABLE mine AS SELECT generate_series(1, 4) AS n");
            Thread.sleep(20);
            try (Connection d = connect()) {
                return fails(() -> one(d, "SELECT sum(n) FROM mine")) + " " + one(c, "SELECT sum(n) FROM mine");
            }
        });
        CHECKS.put("listen and notify", c -> {
            run(c, "LISTEN news");
            try (Connection d = connect()) {
                run(d, "NOTIFY news, 'one'");
                one(d, "SELECT pg_notify('news', ?)", "two");
            }
            List<String> heard = new ArrayList<>();
            for (int n = 0; n < 50 && heard.size() < 2; n++) {
                var got = c.unwrap(PGConnection.class).getNotifications(100);
                if (got != null) for (var g : got) heard.add(g.getName() + g.getParameter());
            }
            return heard;
        });
        CHECKS.put("advisory locks", c -> {
            one(c, "SELECT pg_advisory_lock(3)");
            Thread.sleep(20);
            try (Connection d = connect()) {
                return one(d, "SELECT pg_try_advisory_lock(3)") + one(c, "SELECT pg_advisory_unlock(3)") + one(d, "SELECT pg_try_advisory_lock(3)");
            }
        });
        CHECKS.put("warnings", c -> {
            try (Statement s = c.createStatement()) {
                s.execute("DO $$BEGIN RAISE NOTICE 'a'; RAISE WARNING 'b'; END$$");
                List<String> heard = new ArrayList<>();
                for (SQLWarning w = s.getWarnings(); w != null; w = w.getNextWarning()) heard.add(w.getSQLState() + w.getMessage());
                return heard;
            }
        });
        CHECKS.put("two phase commit", c -> {
            String gid = one(c, "SELECT current_database()") + "_java";
            c.setAutoCommit(false);
            run(c, "CREATE TABLE away (n int)");
            run(c, "PREPARE TRANSACTION '" + gid + "'");
            c.setAutoCommit(true);
            String hidden = fails(() -> one(c, "SELECT count(*) FROM away"));
            run(c, "COMMIT PREPARED '" + gid + "'");
            return hidden + " " + one(c, "SELECT count(*) FROM away");
        });
        CHECKS.put("copy", c -> {
            run(c, "CREATE TABLE copied (n int, s text)");
            CopyManager copy = c.unwrap(PGConnection.class).getCopyAPI();
            StringBuilder rows = new StringBuilder();
            for (int n = 0; n < 20000; n++) rows.append(n).append("\trow\n");
            long in = copy.copyIn("COPY copied FROM STDIN", new StringReader(rows.toString()));
            StringWriter out = new StringWriter();
            copy.copyOut("COPY copied TO STDOUT", out);
            String bad = fails(() -> copy.copyIn("COPY copied FROM STDIN", new StringReader("1\ta\nx\tb\n" + rows)));
            String broken = fails(() -> copy.copyOut("COPY (SELECT 1/(3-n) FROM generate_series(1, 9) n) TO STDOUT", new StringWriter()));
            var left = copy.copyIn("COPY copied FROM STDIN");
            left.writeToCopy("1\tz\n".getBytes(), 0, 4);
            left.cancelCopy();
            return List.of(in, out.toString().length(), bad, broken, one(c, "SELECT count(*) FROM copied"));
        });
        CHECKS.put("large objects", c -> {
            c.setAutoCommit(false);
            LargeObjectManager manager = c.unwrap(PGConnection.class).getLargeObjectAPI();
            long oid = manager.createLO(LargeObjectManager.READWRITE);
            LargeObject object = manager.open(oid, LargeObjectManager.READWRITE);
            object.write(new byte[300000]);
            object.seek(100);
            int read = object.read(1000).length;
            long size = object.size64();
            object.close();
            c.commit();
            LargeObject again = manager.open(oid, LargeObjectManager.READ);
            ByteArrayOutputStream bytes = new ByteArrayOutputStream();
            try (InputStream in = again.getInputStream()) {
                in.transferTo(bytes);
            }
            manager.delete(oid);
            c.commit();
            return List.of(read, size, bytes.size(), fails(() -> manager.open(oid, LargeObjectManager.READ)).replaceAll(" \\d+ ", " N "));
        });
    }

    static void ends() {
        CHECKS.put("cancel and timeouts", c -> {
            Statement s = c.createStatement();
            Thread t = new Thread(() -> {
                try {
                    Thread.sleep(300);
                    s.cancel();
                } catch (Exception e) {
                    throw new IllegalStateException(e);
                }
            });
            t.start();
            String cancelled = fails(() -> s.execute("SELECT pg_sleep(30)"));
            t.join();
            Statement limited = c.createStatement();
            limited.setQueryTimeout(1);
            String late = fails(() -> limited.execute("SELECT pg_sleep(30)"));
            return List.of(cancelled, late, one(c, "SELECT 'usable'"));
        });
        CHECKS.put("backend pid", c -> {
            int pid = c.unwrap(PGConnection.class).getBackendPID();
            return one(c, "SELECT pg_backend_pid() = ?", pid) + one(c, "SELECT count(*) FROM pg_stat_activity WHERE pid = ?", pid);
        });
        CHECKS.put("killed by its pid", c -> {
            try (Connection d = connect()) {
                one(d, "SELECT pg_terminate_backend(?)", c.unwrap(PGConnection.class).getBackendPID());
            }
            Thread.sleep(200);
            return fails(() -> one(c, "SELECT 1")) + " " + c.isClosed() + c.isValid(1);
        });
        CHECKS.put("killed by itself", c -> fails(() -> one(c, "SELECT pg_terminate_backend(pg_backend_pid())")) + c.isClosed());
        CHECKS.put("aborted", c -> {
            c.setAutoCommit(false);
            run(c, "SELECT 1");
            c.abort(Runnable::run);
            return c.isClosed() + fails(() -> one(c, "SELECT 1"));
        });
        CHECKS.put("valid", c -> c.isValid(5) + one(c, "SELECT version() IS NOT NULL") + c.getMetaData().getDatabaseMajorVersion());
        CHECKS.put("refused at login", c -> List.of(
            fails(() -> connect("password", "wrong")),
            fails(() -> connect("database", "no_such_database")),
            fails(() -> connect("options", "-c nothing=1"))));
        CHECKS.put("reconnects", c -> {
            int sum = 0;
            for (int n = 0; n < 20; n++)
                try (Connection d = connect()) {
                    sum += Integer.parseInt(one(d, "SELECT ?::int", n));
                }
            return sum;
        });
        CHECKS.put("eight threads over few servers", c -> {
            ExecutorService threads = Executors.newFixedThreadPool(8);
            List<Future<Object>> futures = new ArrayList<>();
            for (int t = 0; t < 8; t++) {
                int me = t;
                futures.add(threads.submit(() -> {
                    try (Connection d = connect("prepareThreshold", "1", "options", "-c work_mem=" + (me + 1) + "MB")) {
                        d.setAutoCommit(false);
                        long sum = 0;
                        for (int n = 0; n < 40; n++) {
                            if (!one(d, "SHOW work_mem").equals((me + 1) + "MB")) return "another's setting";
                            sum += Integer.parseInt(one(d, "SELECT ?::int + " + (n % 7), n));
                            if (n % 5 == 0) fails(() -> one(d, "SELECT 1/0"));
                            if (n % 2 == 0) d.rollback();
                            else d.commit();
                        }
                        return sum;
                    }
                }));
            }
            List<Object> seen = new ArrayList<>();
            for (Future<Object> f : futures) seen.add(fails(f::get));
            threads.shutdown();
            return seen;
        });
    }

    public static void main(String[] arguments) {
        rowsAndTransactions();
        statements();
        session();
        ends();
        ExecutorService runner = Executors.newCachedThreadPool();
        CHECKS.forEach((name, body) -> {
            String seen;
            Connection[] used = new Connection[1];
            try {
                seen = String.valueOf(runner.submit(() -> {
                    used[0] = connect();
                    return body.see(used[0]);
                }).get(30, TimeUnit.SECONDS));
            } catch (TimeoutException e) {
                seen = "raised: not done after 30 seconds";
            } catch (Exception e) {
                Throwable cause = e.getCause() == null ? e : e.getCause();
                String where = "?";
                for (StackTraceElement frame : cause.getStackTrace())
                    if (frame.getClassName().startsWith("JdbcChecks")) where = "" + frame.getLineNumber();
                seen = "raised in line " + where + ": " + say(cause);
            }
            try {
                if (used[0] != null) used[0].abort(Runnable::run);
            } catch (SQLException e) {
                // It is closed already.
            }
            System.out.println((name + "\t" + seen).replace("\n", "\\n"));
        });
        System.exit(0);
    }
}
