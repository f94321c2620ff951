#![allow(clippy::unwrap_used)]
use super::*;
use proptest::prelude::*;

fn packet(encode: impl FnOnce(&mut Vec<u8>)) -> Result<FirstPacket, Refusal> {
    let mut bytes = Vec::new();
    encode(&mut bytes);
    let (word, body) = bytes.split_first_chunk::<4>().unwrap();
    assert_eq!(body_length(*word)?, body.len());
    parse(body)
}

fn startup(parameters: &[(&str, &str)]) -> Result<Startup, Refusal> {
    match packet(|out| startup_message(out, 0, parameters.iter().copied()))? {
        FirstPacket::Startup(startup) => Ok(startup),
        other => panic!("{other:?}"),
    }
}

fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
    list.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn lengths_are_refused_before_anything_is_read() {
    assert_eq!(body_length(8u32.to_be_bytes()), Ok(4));
    assert_eq!(body_length(10_004u32.to_be_bytes()), Ok(MAX_PACKET));
    for bad in [0u32, 3, 4, 7, 10_005, 0x1603_0102, u32::MAX] {
        assert_eq!(body_length(bad.to_be_bytes()), Err(Refusal::Length), "{bad}");
    }
}

#[test]
fn requests_round_trip() {
    assert_eq!(packet(ssl_request), Ok(FirstPacket::SslRequest));
    assert_eq!(parse(&GSSENC_REQUEST.to_be_bytes()), Ok(FirstPacket::GssEncRequest));
    for key in [vec![1; 4], vec![2; 32], vec![3; 256]] {
        assert_eq!(
            packet(|out| cancel_request(out, -7, &key)),
            Ok(FirstPacket::Cancel { pid: -7, key: key.into() })
        );
    }
    assert_eq!(packet(|out| cancel_request(out, 1, &[0; 3])), Err(Refusal::Length));
    assert_eq!(packet(|out| cancel_request(out, 1, &[0; 257])), Err(Refusal::Length));
}

#[test]
fn a_startup_has_defaults_and_order() {
    let read = startup(&[
        ("application_name", "x"),
        ("user", "ann"),
        ("options", "-c geqo=off"),
        ("DateStyle", "ISO"),
    ])
    .unwrap();
    assert_eq!((read.user.as_str(), read.database.as_str()), ("ann", "ann"));
    assert_eq!(read.settings, pairs(&[("geqo", "off"), ("application_name", "x"), ("DateStyle", "ISO")]));
    assert_eq!(read.negotiate(), (0, false));

    assert_eq!(startup(&[("database", "shop")]), Err(Refusal::NoUser));
    assert_eq!(startup(&[("user", "ann"), ("database", "shop")]).unwrap().database, "shop");
    assert_eq!(
        startup(&[("user", "a"), ("replication", "database")]).unwrap().replication.as_deref(),
        Some("database")
    );
}

#[test]
fn versions_are_negotiated_or_refused() {
    let mut body = (3u32 << 16 | 9999).to_be_bytes().to_vec();
    body.extend_from_slice(b"user\0ann\0_pq_.fancy\0on\0\0");
    let FirstPacket::Startup(read) = parse(&body).unwrap() else { panic!() };
    assert_eq!(read.negotiate(), (2, true));
    assert_eq!(read.unrecognized, ["_pq_.fancy"]);

    let refused = parse(b"\0\x02\0\0user\0ann\0\0").unwrap_err();
    assert_eq!(refused, Refusal::Protocol(2, 0));
    assert_eq!(refused.sqlstate(), *b"0A000");
    assert!(refused.to_string().starts_with("unsupported frontend protocol 2.0"));
}

#[test]
fn layout_is_exact() {
    for (body, wrong) in [
        (&b"\0\x03\0\0user\0ann\0"[..], "a name has no end"),
        (b"\0\x03\0\0user\0ann", "a value has no end"),
        (b"\0\x03\0\0user\0ann\0\0x", "expected terminator as last byte"),
    ] {
        assert_eq!(parse(body), Err(Refusal::Layout(wrong)));
    }
    assert_eq!(parse(b"\0\x03\0\0user\0\xff\0\0"), Err(Refusal::Encoding("user".to_owned())));
}

#[test]
fn options_are_read_as_a_command_line() {
    assert_eq!(
        parse_options(r"-c search_path=a\ b,c  -cwork_mem=1MB --statement-timeout=5s -c x=\\\ y").unwrap(),
        pairs(&[("search_path", "a b,c"), ("work_mem", "1MB"), ("statement_timeout", "5s"), ("x", "\\ y")])
    );
    assert_eq!(parse_options("  ").unwrap(), []);
    assert_eq!(parse_options("-c x=").unwrap(), pairs(&[("x", "")]));
    for bad in ["-c", "-c geqo", "-d 5", "geqo=off", "--", "--=1", "-c =1", "-"] {
        let refused = parse_options(bad).unwrap_err();
        assert_eq!(refused.sqlstate(), *b"42601", "{bad}");
    }
}

proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse(&body);
    }

    #[test]
    fn no_parameters_make_the_reader_panic(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse(&[&[0, 3, 0, 0], &body[..]].concat());
    }

    #[test]
    fn settings_round_trip(
        user in "[^\0]{1,20}", settings in proptest::collection::vec(("x[^\0]{0,9}", "[^\0]{0,20}"), 0..8)
    ) {
        let mut sent = vec![("user", user.as_str())];
        sent.extend(settings.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        let read = startup(&sent).unwrap();
        prop_assert_eq!(read.user, user);
        prop_assert_eq!(read.settings, settings);
    }

    #[test]
    fn escaped_options_round_trip(value in "\\PC{0,30}") {
        let escaped: String = value
            .chars()
            .flat_map(|c| (c == '\\' || c.is_ascii_whitespace()).then_some('\\').into_iter().chain([c]))
            .collect();
        let read = parse_options(&format!("-c a={escaped} --b={escaped}")).unwrap();
        prop_assert_eq!(read, pairs(&[("a", &value), ("b", &value)]));
    }
}
