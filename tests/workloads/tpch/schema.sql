-- The tables of TPC-H, filled by generate_series: same columns, keys, sizes and ranges; words and comments are our own.
-- {scale} is the scale factor: 1 gives 6 million lines. The numbers are the same at each run on the same PostgreSQL.
SET max_parallel_workers_per_gather = 0;
SET work_mem = '256MB';
SET client_min_messages = warning;
CREATE FUNCTION pick(n double precision) RETURNS int LANGUAGE sql VOLATILE AS 'SELECT floor(random() * n)::int';
CREATE FUNCTION part_price(partkey bigint) RETURNS numeric LANGUAGE sql IMMUTABLE AS
  'SELECT (90000 + (partkey / 10) % 20001 + 100 * (partkey % 1000))::numeric / 100';
-- The n-th of the four suppliers of a part.
CREATE FUNCTION part_supplier(partkey bigint, n int, suppliers bigint) RETURNS bigint LANGUAGE sql IMMUTABLE AS
  'SELECT (partkey + n * (suppliers / 4 + (partkey - 1) / suppliers)) % suppliers + 1';
SELECT setseed(0.25);

CREATE TABLE region (r_regionkey int NOT NULL, r_name text NOT NULL, r_comment text);
INSERT INTO region SELECT n - 1, name, 'the lands of ' || lower(name)
FROM unnest(ARRAY['AFRICA', 'AMERICA', 'ASIA', 'EUROPE', 'MIDDLE EAST']) WITH ORDINALITY AS r(name, n);

CREATE TABLE nation (n_nationkey int NOT NULL, n_name text NOT NULL, n_regionkey int NOT NULL, n_comment text);
INSERT INTO nation SELECT n - 1, name, (n - 1) / 5, 'people of ' || lower(name)
FROM unnest(ARRAY['ALGERIA', 'ETHIOPIA', 'KENYA', 'MOROCCO', 'MOZAMBIQUE', 'ARGENTINA', 'BRAZIL', 'CANADA', 'PERU',
  'UNITED STATES', 'CHINA', 'INDIA', 'INDONESIA', 'JAPAN', 'VIETNAM', 'FRANCE', 'GERMANY', 'ROMANIA', 'RUSSIA',
  'UNITED KINGDOM', 'EGYPT', 'IRAN', 'IRAQ', 'JORDAN', 'SAUDI ARABIA']) WITH ORDINALITY AS x(name, n);

CREATE TABLE supplier (s_suppkey bigint NOT NULL, s_name text NOT NULL, s_address text NOT NULL, s_nationkey int NOT NULL,
  s_phone text NOT NULL, s_acctbal numeric(15,2) NOT NULL, s_comment text NOT NULL);
INSERT INTO supplier
SELECT n, 'Supplier#' || lpad(n::text, 9, '0'), left(md5(n::text), 10 + pick(20)), nation,
  (10 + nation) || '-' || lpad(pick(1000)::text, 3, '0') || '-' || lpad(pick(10000)::text, 4, '0'),
  (pick(1100000) - 100000)::numeric / 100,
  CASE WHEN n % 2000 = 7 THEN 'where a Customer had to wait, Complaints came' ELSE left(md5(n::text) || md5((-n)::text), 30 + pick(34)) END
FROM (SELECT n, pick(25) AS nation FROM generate_series(1, greatest(10000 * {scale}, 20)::bigint) n) s;

CREATE TABLE part (p_partkey bigint NOT NULL, p_name text NOT NULL, p_mfgr text NOT NULL, p_brand text NOT NULL,
  p_type text NOT NULL, p_size int NOT NULL, p_container text NOT NULL, p_retailprice numeric(15,2) NOT NULL,
  p_comment text NOT NULL);
INSERT INTO part
SELECT n, colours[1 + pick(40)] || ' ' || colours[1 + pick(40)] || ' ' || colours[1 + pick(40)] || ' ' || colours[1 + pick(40)]
    || ' ' || colours[1 + pick(40)],
  'Manufacturer#' || maker, 'Brand#' || maker || (1 + pick(5)),
  (ARRAY['STANDARD', 'SMALL', 'MEDIUM', 'LARGE', 'ECONOMY', 'PROMO'])[1 + pick(6)] || ' '
    || (ARRAY['ANODIZED', 'BURNISHED', 'PLATED', 'POLISHED', 'BRUSHED'])[1 + pick(5)] || ' '
    || (ARRAY['TIN', 'NICKEL', 'BRASS', 'STEEL', 'COPPER'])[1 + pick(5)],
  1 + pick(50),
  (ARRAY['SM', 'LG', 'MED', 'JUMBO', 'WRAP'])[1 + pick(5)] || ' '
    || (ARRAY['CASE', 'BOX', 'BAG', 'JAR', 'PKG', 'PACK', 'CAN', 'DRUM'])[1 + pick(8)],
  part_price(n), left(md5(n::text), 5 + pick(18))
FROM (SELECT n, 1 + pick(5) AS maker FROM generate_series(1, greatest(200000 * {scale}, 400)::bigint) n) p,
  (SELECT string_to_array('amber azure beige black blue brick bronze brown coral cream cyan ebony fawn forest gold green grey '
    'hazel indigo ivory jade khaki lemon lilac lime maroon mauve mint navy ochre olive orange pearl pink plum red rose ruby '
    'sand teal', ' ') AS colours) c;

CREATE TABLE partsupp (ps_partkey bigint NOT NULL, ps_suppkey bigint NOT NULL, ps_availqty int NOT NULL,
  ps_supplycost numeric(15,2) NOT NULL, ps_comment text NOT NULL);
INSERT INTO partsupp
SELECT p_partkey, part_supplier(p_partkey, n, (SELECT count(*) FROM supplier)), 1 + pick(9999), (100 + pick(99901))::numeric / 100,
  repeat(md5((p_partkey * 4 + n)::text), 2 + pick(4))
FROM part, generate_series(0, 3) n;

CREATE TABLE customer (c_custkey bigint NOT NULL, c_name text NOT NULL, c_address text NOT NULL, c_nationkey int NOT NULL,
  c_phone text NOT NULL, c_acctbal numeric(15,2) NOT NULL, c_mktsegment text NOT NULL, c_comment text NOT NULL);
INSERT INTO customer
SELECT n, 'Customer#' || lpad(n::text, 9, '0'), left(md5(n::text), 10 + pick(20)), nation,
  (10 + nation) || '-' || lpad(pick(1000)::text, 3, '0') || '-' || lpad(pick(10000)::text, 4, '0'),
  (pick(1100000) - 100000)::numeric / 100,
  (ARRAY['AUTOMOBILE', 'BUILDING', 'FURNITURE', 'MACHINERY', 'HOUSEHOLD'])[1 + pick(5)], repeat(md5(n::text), 1 + pick(4))
FROM (SELECT n, pick(25) AS nation FROM generate_series(1, greatest(150000 * {scale}, 300)::bigint) n) c;

-- A third of the customers never order; of 32 keys in a row 8 are used.
CREATE TEMP TABLE ordered AS
SELECT (n / 8) * 32 + n % 8 + 1 AS orderkey, c + (c % 3 = 0)::int AS custkey, date '1992-01-01' + pick(2406) AS orderdate,
  1 + pick(7) AS lines
FROM (SELECT n, 1 + pick(greatest(150000 * {scale}, 300) - 2) AS c
  FROM generate_series(0, greatest(1500000 * {scale}, 3000)::bigint - 1) n) o;

CREATE TABLE lineitem (l_orderkey bigint NOT NULL, l_partkey bigint NOT NULL, l_suppkey bigint NOT NULL, l_linenumber int NOT NULL,
  l_quantity numeric(15,2) NOT NULL, l_extendedprice numeric(15,2) NOT NULL, l_discount numeric(15,2) NOT NULL,
  l_tax numeric(15,2) NOT NULL, l_returnflag char(1) NOT NULL, l_linestatus char(1) NOT NULL, l_shipdate date NOT NULL,
  l_commitdate date NOT NULL, l_receiptdate date NOT NULL, l_shipinstruct text NOT NULL, l_shipmode text NOT NULL,
  l_comment text NOT NULL);
INSERT INTO lineitem
SELECT orderkey, partkey, part_supplier(partkey, pick(4), (SELECT count(*) FROM supplier)), line, quantity,
  quantity * part_price(partkey), pick(11)::numeric / 100, pick(9)::numeric / 100,
  CASE WHEN receipt > date '1995-06-17' THEN 'N' WHEN random() < 0.5 THEN 'R' ELSE 'A' END,
  CASE WHEN ship > date '1995-06-17' THEN 'O' ELSE 'F' END, ship, commit, receipt,
  (ARRAY['DELIVER IN PERSON', 'COLLECT COD', 'NONE', 'TAKE BACK RETURN'])[1 + pick(4)],
  (ARRAY['REG AIR', 'AIR', 'RAIL', 'SHIP', 'TRUCK', 'MAIL', 'FOB'])[1 + pick(7)], left(md5(partkey::text), 10 + pick(22))
FROM (SELECT orderkey, line, partkey, quantity, ship, orderdate + 30 + pick(61) AS commit, ship + 1 + pick(30) AS receipt
  FROM (SELECT orderkey, orderdate, line, 1 + pick(greatest(200000 * {scale}, 400)) AS partkey, 1 + pick(50) AS quantity,
      orderdate + 1 + pick(121) AS ship
    FROM ordered, LATERAL generate_series(1, lines) AS line OFFSET 0) a OFFSET 0) b;

CREATE TABLE orders (o_orderkey bigint NOT NULL, o_custkey bigint NOT NULL, o_orderstatus char(1) NOT NULL,
  o_totalprice numeric(15,2) NOT NULL, o_orderdate date NOT NULL, o_orderpriority text NOT NULL, o_clerk text NOT NULL,
  o_shippriority int NOT NULL, o_comment text NOT NULL);
INSERT INTO orders
SELECT orderkey, custkey, CASE WHEN open = 0 THEN 'F' WHEN open = lines THEN 'O' ELSE 'P' END, price, orderdate,
  (ARRAY['1-URGENT', '2-HIGH', '3-MEDIUM', '4-NOT SPECIFIED', '5-LOW'])[1 + pick(5)],
  'Clerk#' || lpad((1 + pick(greatest(1000 * {scale}, 10)))::text, 9, '0'), 0,
  CASE WHEN random() < 0.012 THEN 'some special wish, many requests' ELSE left(md5(orderkey::text) || md5(custkey::text), 20 + pick(44)) END
FROM ordered JOIN (
  SELECT l_orderkey, sum(l_extendedprice * (1 + l_tax) * (1 - l_discount)) AS price, count(*) FILTER (WHERE l_linestatus = 'O') AS open
  FROM lineitem GROUP BY l_orderkey) l ON l_orderkey = orderkey;
DROP TABLE ordered;

ALTER TABLE region ADD PRIMARY KEY (r_regionkey);
ALTER TABLE nation ADD PRIMARY KEY (n_nationkey);
ALTER TABLE supplier ADD PRIMARY KEY (s_suppkey);
ALTER TABLE part ADD PRIMARY KEY (p_partkey);
ALTER TABLE partsupp ADD PRIMARY KEY (ps_partkey, ps_suppkey);
ALTER TABLE customer ADD PRIMARY KEY (c_custkey);
ALTER TABLE orders ADD PRIMARY KEY (o_orderkey);
ALTER TABLE lineitem ADD PRIMARY KEY (l_orderkey, l_linenumber);
ALTER TABLE nation ADD FOREIGN KEY (n_regionkey) REFERENCES region;
ALTER TABLE supplier ADD FOREIGN KEY (s_nationkey) REFERENCES nation;
ALTER TABLE customer ADD FOREIGN KEY (c_nationkey) REFERENCES nation;
ALTER TABLE partsupp ADD FOREIGN KEY (ps_partkey) REFERENCES part, ADD FOREIGN KEY (ps_suppkey) REFERENCES supplier;
ALTER TABLE orders ADD FOREIGN KEY (o_custkey) REFERENCES customer;
ALTER TABLE lineitem ADD FOREIGN KEY (l_orderkey) REFERENCES orders,
  ADD FOREIGN KEY (l_partkey, l_suppkey) REFERENCES partsupp;
CREATE INDEX supplier_nation ON supplier (s_nationkey);
CREATE INDEX partsupp_supplier ON partsupp (ps_suppkey);
CREATE INDEX customer_nation ON customer (c_nationkey);
CREATE INDEX orders_customer ON orders (o_custkey);
CREATE INDEX lineitem_part ON lineitem (l_partkey, l_suppkey);
ANALYZE region, nation, supplier, part, partsupp, customer, orders, lineitem;
