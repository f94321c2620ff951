//! Encodings other than UTF-8, of clients and of databases: whatever goes through says the same byte by byte as on a
//! connection to PostgreSQL itself.

use crate::support::lab::Database;
use crate::support::{Builder, Frame, Raw, Sluice, lab, msg};

/// A word with letters beyond ASCII, in the client's encoding. In SJIS the second byte of `表` is a backslash.
const E_ACUTE: [(&str, &[u8]); 2] = [("LATIN1", b"caf\xe9"), ("UTF8", "café".as_bytes())];
const TABLE: [(&str, &[u8]); 4] =
    [("SJIS", b"\x95\x5c"), ("EUC_JP", b"\xc9\xbd"), ("UTF8", "表".as_bytes()), ("SQL_ASCII", b"\xc9\xbd")];

fn database(encoding: &str) -> Database<'static> {
    let lab = lab();
    let mut database = lab.database();
    let name = format!("{}_{}", database.name, encoding.to_ascii_lowercase());
    let create = format!(
        "CREATE DATABASE {name} OWNER {} ENCODING '{encoding}' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'",
        database.user
    );
    lab.cluster.sql("postgres", &format!("DROP DATABASE {}", database.name)).unwrap();
    lab.cluster.sql("postgres", &create).unwrap();
    database.name = name;
    database
}

fn start(database: Database<'static>, pool_size: u32) -> Sluice {
    Builder::new(lab()).pool_size(pool_size).start_for(database)
}

async fn login(sluice: &Sluice, port: u16, encoding: &str) -> Raw {
    let database = &sluice.database;
    let more = [("client_encoding", encoding)];
    let more = if encoding.is_empty() { &[][..] } else { &more[..] };
    Raw::login(port, &database.user, &database.password, &database.name, more).await.unwrap()
}

/// Each `{}` is the word.
fn fill(text: &str, word: &[u8]) -> Vec<u8> {
    text.split("{}").map(str::as_bytes).collect::<Vec<_>>().join(word)
}

fn query(text: &str, word: &[u8]) -> Vec<u8> {
    msg::frame(b'Q', &[&fill(text, word)[..], b"\0"].concat())
}

fn prepared(name: &[u8], text: &str, word: &[u8]) -> Vec<u8> {
    let parse = [name, b"\0", &fill(text, word), b"\0\0\0"].concat();
    let length = u32::try_from(word.len()).unwrap().to_be_bytes();
    let bind = [b"\0", name, b"\0\0\0\0\x01", &length[..], word, b"\0\0"].concat();
    let close = [b"S", name, b"\0"].concat();
    [
        msg::frame(b'P', &parse),
        msg::frame(b'B', &bind),
        msg::describe_portal(""),
        msg::execute("", 0),
        msg::frame(b'C', &close),
        msg::sync(),
    ]
    .concat()
}

/// What a client of an encoding may do with a word.
fn script(word: &[u8]) -> Vec<Vec<u8>> {
    let mut all: Vec<Vec<u8>> = [
        "SHOW client_encoding",
        "DROP TABLE IF EXISTS \"{}\"",
        "CREATE TABLE \"{}\" (\"{}\" text)",
        "INSERT INTO \"{}\" VALUES ('{}'), ('x{}y')",
        "SELECT \"{}\", length(\"{}\"), '{}' AS \"a{}\" FROM \"{}\" /* {} */ -- {}",
        "SELECT * FROM \"no {}\"",
        "SELECT '{}'::int",
        "SELECT '{} without an end",
        "DO $${}$$",
        "DO $$BEGIN RAISE NOTICE 'hear: %', '{}'; END$$",
        "SELECT * FROM \"{}\" WHERE \"{}\" LIKE '{}%'; SELECT '{}'",
    ]
    .iter()
    .map(|text| query(text, word))
    .collect();
    all.push(prepared(b"", "SELECT $1::text, '{}'", word));
    all.push(prepared(b"plain", "SELECT $1::text, '{}'", word));
    all.push(prepared(word, "SELECT count(*) FROM \"{}\" WHERE \"{}\" = $1", word));
    all.push(prepared(word, "SELECT $1::text FROM \"no {}\"", word));
    all.push(query("DROP TABLE \"{}\"", word));
    all
}

/// What another connection must say too: not line numbers and ids.
fn comparable(frames: Vec<Frame>) -> Vec<(char, Vec<u8>)> {
    let shown = |frame: Frame| match frame.tag {
        b'E' | b'N' => {
            let fields = frame.body.split(|b| *b == 0).filter(|f| !f.is_empty() && !b"LFRP".contains(&f[0]));
            ('E', fields.collect::<Vec<_>>().join(&0))
        }
        // Where a column comes from are numbers of the table at hand.
        b'T' => ('T', frame.body.split(|b| *b == 0).next().unwrap_or_default().to_vec()),
        tag => (tag as char, frame.body),
    };
    frames.into_iter().filter(|f| f.tag != b'S').map(shown).collect()
}

async fn compare(database_encoding: &str, client_encoding: &str, word: &[u8]) {
    let sluice = start(database(database_encoding), 1);
    let mut through = login(&sluice, sluice.port, client_encoding).await;
    let mut direct = login(&sluice, sluice.database.lab.cluster.server().port(), client_encoding).await;
    let what = format!("{client_encoding} on {database_encoding}");
    for name in ["client_encoding", "server_encoding"] {
        assert_eq!(through.parameters[name], direct.parameters[name], "{what}");
    }
    // One after the other: the script leaves nothing behind.
    let mut expected = Vec::new();
    for message in script(word) {
        direct.send(&message).await;
        expected.push(comparable(direct.until_ready().await));
    }
    for (message, expected) in script(word).into_iter().zip(expected) {
        through.send(&message).await;
        let found = comparable(through.until_ready().await);
        assert_eq!(found, expected, "{what}: {}", String::from_utf8_lossy(&message));
    }
}

#[tokio::test]
async fn a_utf8_database_with_other_clients() {
    compare("UTF8", "LATIN1", E_ACUTE[0].1).await;
    for (encoding, word) in &TABLE[..3] {
        compare("UTF8", encoding, word).await;
    }
}

#[tokio::test]
async fn a_latin1_database() {
    for (encoding, word) in E_ACUTE {
        compare("LATIN1", encoding, word).await;
    }
    compare("LATIN1", "", E_ACUTE[0].1).await;
}

#[tokio::test]
async fn a_japanese_database() {
    for (encoding, word) in &TABLE[..3] {
        compare("EUC_JP", encoding, word).await;
    }
}

#[tokio::test]
async fn a_database_of_bytes() {
    compare("SQL_ASCII", "SQL_ASCII", TABLE[3].1).await;
    compare("SQL_ASCII", "", b"\xff\xfe\x80").await;
    compare("SQL_ASCII", "UTF8", "é".as_bytes()).await;
}

/// A letter whose second byte is a backslash, a letter or a digit.
const WIDE: [(&str, &[u8]); 8] = [
    ("SJIS", b"\x95\x5c"),
    ("SHIFT_JIS_2004", b"\x95\x5c\xb1"),
    ("BIG5", b"\xa5\x5c"),
    ("GBK", b"\xd5\x5c"),
    ("UHC", b"\x81\x41"),
    ("GB18030", b"\xd5\x5c"),
    ("GB18030", b"\x81\x39\xee\x39"),
    ("JOHAB", b"\xd9\xa1"),
];

#[tokio::test]
async fn letters_that_look_like_ascii() {
    for (encoding, word) in WIDE {
        compare("UTF8", encoding, word).await;
    }
}

/// One server connection between clients of different encodings.
#[tokio::test]
async fn clients_of_several_encodings_share_a_server() {
    let sluice = start(database("UTF8"), 1);
    let mut clients = Vec::new();
    for (encoding, word) in TABLE[..3].iter().chain(&E_ACUTE).chain(&WIDE) {
        clients.push((login(&sluice, sluice.port, encoding).await, *encoding, *word));
    }
    for _ in 0..3 {
        for (raw, encoding, word) in &mut clients {
            raw.send(&query("SELECT '{}', current_setting('client_encoding')", word)).await;
            let frames = raw.until_ready().await;
            let row =
                frames.iter().find(|f| f.tag == b'D').unwrap_or_else(|| panic!("{encoding}: {frames:?}"));
            let expected = [
                &[0, 2][..],
                &u32::try_from(word.len()).unwrap().to_be_bytes(),
                word,
                &u32::try_from(encoding.len()).unwrap().to_be_bytes(),
                encoding.as_bytes(),
            ]
            .concat();
            assert_eq!(row.body, expected, "{encoding}");
        }
    }
}

/// PostgreSQL shows such a name with question marks, or escaped, in its own log and views.
#[tokio::test]
async fn an_application_may_name_itself_in_its_own_encoding() {
    let sluice = start(database("LATIN1"), 1);
    let mut raw = Raw::connect(sluice.port).await.unwrap();
    let database = &sluice.database;
    let mut body = 196_608u32.to_be_bytes().to_vec();
    for (name, value) in [
        (&b"user"[..], database.user.as_bytes()),
        (b"database", database.name.as_bytes()),
        (b"client_encoding", b"LATIN1"),
        (b"application_name", b"caf\xe9"),
    ] {
        body.extend([name, b"\0", value, b"\0"].concat());
    }
    body.push(0);
    raw.send(&[&u32::try_from(body.len() + 4).unwrap().to_be_bytes()[..], &body].concat()).await;
    raw.authenticate(&database.user, &database.password).await.unwrap();
    let frames = raw.query("SHOW application_name").await;
    let name = frames[1].columns().remove(0).unwrap();
    assert!(name.starts_with("caf") && name.is_ascii(), "{name}");
}

/// What a start-up packet says beyond ASCII holds on a server that another encoding was used on before.
#[tokio::test]
async fn start_up_settings_beyond_ascii_survive_other_encodings() {
    survive(database("UTF8"), "LATIN1").await;
    survive(database("SQL_ASCII"), "SQL_ASCII").await;
    survive(database("EUC_JP"), "SJIS").await;
}

async fn survive(database: Database<'static>, encoding: &str) {
    let sluice = start(database, 1);
    let mut other = login(&sluice, sluice.port, encoding).await;
    let database = &sluice.database;
    let more = [("my.setting", "表表"), ("client_encoding", "UTF8")];
    let mut raw =
        Raw::login(sluice.port, &database.user, &database.password, &database.name, &more).await.unwrap();
    for _ in 0..2 {
        other.send(&query("SELECT '{}'", if encoding == "SJIS" { b"\x95\x5c" } else { b"\xe9" })).await;
        assert!(other.until_ready().await.iter().any(|f| f.tag == b'D'));
        let frames = raw.query("SHOW my.setting").await;
        let row = frames.iter().find(|f| f.tag == b'D').unwrap_or_else(|| panic!("{frames:?}"));
        assert_eq!(row.columns(), [Some("表表".to_owned())]);
    }
}
