#![allow(clippy::unwrap_used)]
use super::*;
use proptest::prelude::*;

const SALT: &[u8] = b"0123456789abcdef";

fn verifier(password: &str) -> Verifier {
    Verifier::of_password(password.as_bytes(), SALT, 2).unwrap()
}

/// A whole exchange between our own halves; the client logs in with `keys`.
fn exchange(
    verifier: &Verifier,
    keys: impl FnOnce(&Challenge) -> (ClientKey, Option<ServerKey>),
    gs2_header: &'static str,
    binding: Binding<'_>,
) -> Result<ClientKey> {
    let data = if let Binding::Chosen(data) = binding { data } else { &[] };
    let client = ClientExchange::begin("client".to_owned(), gs2_header, data);
    let first = client.client_first();
    let server = ServerExchange::begin(first.as_bytes(), Arc::new(verifier.clone()), "server", binding)?;
    let challenge = client.challenge(server.server_first().as_bytes())?;
    assert!(verifier.matches(&challenge));
    let (client_key, server_key) = keys(&challenge);
    let (last, expected) = client.answer(&challenge, &client_key, server_key.as_ref());
    let (yielded, server_final) = server.finish(last.as_bytes())?;
    expected.verify(server_final.as_bytes())?;
    Ok(yielded)
}

fn with_password(password: &str) -> impl FnOnce(&Challenge) -> (ClientKey, Option<ServerKey>) {
    move |challenge| {
        let (client, server) = derive(password.as_bytes(), &challenge.salt, challenge.iterations).unwrap();
        (client, Some(server))
    }
}

#[test]
fn the_rfc_7677_example_holds() {
    let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
    let verifier = Arc::new(Verifier::of_password(b"pencil", &salt, 4096).unwrap());
    let server = ServerExchange::begin(
        b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO",
        verifier,
        "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0",
        Binding::NotOffered,
    )
    .unwrap();
    let nonce = "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
    assert_eq!(server.server_first(), format!("r={nonce},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"));
    let last = format!("c=biws,r={nonce},p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=");
    let (_, server_final) = server.finish(last.as_bytes()).unwrap();
    assert_eq!(server_final, "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
}

#[test]
fn a_stored_verifier_is_read_and_nothing_like_it() {
    let stored = format!(
        "SCRAM-SHA-256$4096:{}${}:{}",
        STANDARD.encode(SALT),
        STANDARD.encode([1; 32]),
        STANDARD.encode([2; 32])
    );
    let verifier = Verifier::parse(&stored).unwrap();
    assert_eq!((verifier.iterations, &*verifier.salt), (4096, SALT));
    assert_eq!((verifier.stored_key, verifier.server_key.0), ([1; 32], [2; 32]));
    for bad in [
        stored.replace("4096", "0"),
        stored.replace("4096", "+1"),
        stored.replace("4096", "99999999999"),
        stored.replace("SHA-256", "SHA-1"),
        stored[..stored.len() - 4].to_owned(),
        stored.replace(':', "$"),
    ] {
        assert!(Verifier::parse(&bad).is_none(), "{bad}");
    }
}

#[test]
fn a_proof_yields_the_key_that_logs_in_without_a_password() {
    let verifier = verifier("pencil");
    let key = exchange(&verifier, with_password("pencil"), "n,,", Binding::NotOffered).unwrap();
    assert!(verifier.accepts(&key));
    let again = |_: &Challenge| (key, Some(verifier.server_key().clone()));
    exchange(&verifier, again, "n,,", Binding::NotOffered).unwrap();
}

#[test]
fn wrong_keys_and_wrong_servers_fail() {
    let ours = verifier("pencil");
    let wrong = exchange(&ours, with_password("pencils"), "n,,", Binding::NotOffered);
    assert_eq!(wrong.unwrap_err(), ScramError::WrongProof);
    // A server that knows StoredKey, but not ServerKey.
    let other = verifier("pen");
    let half = Verifier { server_key: other.server_key, ..ours };
    let wrong = exchange(&half, with_password("pencil"), "n,,", Binding::NotOffered);
    assert_eq!(wrong.unwrap_err(), ScramError::WrongSignature);
}

#[test]
fn a_mock_verifier_is_stable_per_name_and_opens_for_nobody() {
    let secret = [7; 32];
    assert_eq!(Verifier::mock(&secret, "ann"), Verifier::mock(&secret, "ann"));
    assert_ne!(Verifier::mock(&secret, "ann").salt, Verifier::mock(&secret, "bob").salt);
    assert_ne!(Verifier::mock(&secret, "ann").salt, Verifier::mock(&[8; 32], "ann").salt);
    let mock = Verifier { iterations: 2, ..Verifier::mock(&secret, "ann") };
    let wrong = exchange(&mock, with_password("ann"), "n,,", Binding::NotOffered);
    assert_eq!(wrong.unwrap_err(), ScramError::WrongProof);
}

#[test]
fn channel_binding_is_judged_by_what_was_offered() {
    let verifier = verifier("pencil");
    let run = |header, binding| exchange(&verifier, with_password("pencil"), header, binding).map(|_| ());
    assert_eq!(run("y,,", Binding::NotOffered), Ok(()));
    assert_eq!(run("n,,", Binding::Declined), Ok(()));
    assert_eq!(run("y,,", Binding::Declined), Err(ScramError::Downgrade));
    assert_eq!(run("p=tls-server-end-point,,", Binding::Chosen(b"hash")), Ok(()));
    let unfit = ScramError::Malformed("channel binding does not fit the mechanism");
    assert_eq!(run("n,,", Binding::Chosen(b"hash")), Err(unfit.clone()));
    assert_eq!(run("p=tls-server-end-point,,", Binding::NotOffered), Err(unfit));
    assert!(matches!(run("p=tls-unique,,", Binding::Chosen(b"hash")), Err(ScramError::Unsupported(_))));

    // Bound to another channel than ours.
    let client = ClientExchange::begin("client".to_owned(), "p=tls-server-end-point,,", b"other");
    let first = client.client_first();
    let server =
        ServerExchange::begin(first.as_bytes(), Arc::new(verifier.clone()), "s", Binding::Chosen(b"hash"));
    let server = server.unwrap();
    let challenge = client.challenge(server.server_first().as_bytes()).unwrap();
    let (key, _) = derive(b"pencil", &challenge.salt, challenge.iterations).unwrap();
    let (last, _) = client.answer(&challenge, &key, None);
    assert_eq!(server.finish(last.as_bytes()).unwrap_err(), ScramError::Binding);
}

#[test]
fn broken_client_messages_are_refused() {
    let ours = Arc::new(verifier("pencil"));
    let begin = |first: &[u8]| ServerExchange::begin(first, ours.clone(), "server", Binding::NotOffered);
    for first in [
        &b""[..],
        b"n",
        b"n,",
        b"n,,",
        b"n,,n=",
        b"n,,r=x",
        b"n,,n=x,r=",
        b"n,,n=x,r=a b",
        b"n,a=x,n=x,r=a",
        b"n,,m=1,n=x,r=a",
        b"x,,n=x,r=a",
    ] {
        assert!(begin(first).is_err(), "{}", String::from_utf8_lossy(first));
    }
    assert!(begin(&[b"n,,n=,r=", &[b'x'; MAX_MESSAGE][..]].concat()).is_err());
    let proof = STANDARD.encode([0; 32]);
    for last in [
        String::new(),
        ",".to_owned(),
        format!("p={proof}"),
        format!("c=biws,r=clientserver,p={}", &proof[4..]),
        format!("c=biws,r=clientserver,p={proof},x=1"),
        format!("c=biws,r=client,p={proof}"),
        format!("c=biw,r=clientserver,p={proof}"),
        format!("c=eSws,r=clientserver,p={proof}"),
        format!("r=clientserver,p={proof}"),
    ] {
        let refused = begin(b"n,,n=,r=client").unwrap().finish(last.as_bytes()).unwrap_err();
        assert_ne!(refused, ScramError::WrongProof, "{last}");
    }
}

#[test]
fn broken_server_messages_are_refused() {
    let client = ClientExchange::begin("client".to_owned(), "n,,", &[]);
    for first in [
        "",
        "r=client,s=YQ==,i=1",
        "r=other,s=YQ==,i=1",
        "r=clientx,s=!,i=1",
        "r=clientx,i=1",
        "r=clientx,s=YQ==,i=0",
        "r=clientx,s=YQ==,i=-1",
        "r=clientx,s=YQ==,i=4294967296",
        "r=clientx,s=YQ==",
    ] {
        assert!(client.challenge(first.as_bytes()).is_err(), "{first}");
    }
    assert!(client.challenge(format!("r=client{},s=YQ==,i=1", "x".repeat(9_000)).as_bytes()).is_err());
    let greedy = client.challenge(b"r=clientx,s=YQ==,i=4294967295").unwrap();
    let refused = derive(b"x", &greedy.salt, greedy.iterations).unwrap_err();
    assert_eq!(refused, ScramError::TooManyIterations(u32::MAX));

    let expected = Expected(Some([1; 32]));
    assert_eq!(expected.verify(b"e=other-error"), Err(ScramError::Server("other-error".to_owned())));
    assert_eq!(expected.verify(b"v=YQ=="), Err(ScramError::Malformed("signature expected")));
    let wrong = format!("v={}", STANDARD.encode([2; 32]));
    assert_eq!(expected.verify(wrong.as_bytes()), Err(ScramError::WrongSignature));
}

#[test]
fn passwords_are_prepared_as_postgres_does_it() {
    assert_eq!(&*normalized("I\u{ad}X".as_bytes()), b"IX");
    assert_eq!(&*normalized("\u{2168}".as_bytes()), b"IX");
    assert_eq!(&*normalized(b"\xff\xfe"), b"\xff\xfe");
    assert_eq!(&*normalized(b"a\x07b"), b"a\x07b");
    assert_eq!(&*normalized("\u{ad}".as_bytes()), "\u{ad}".as_bytes());
}

#[test]
fn secrets_are_not_printed() {
    let verifier = verifier("pencil");
    let (client, server) = derive(b"pencil", SALT, 2).unwrap();
    assert_eq!(format!("{verifier:?} {client:?} {server:?}"), "Verifier(..) ClientKey(..) ServerKey(..)");
}

proptest! {
    #[test]
    fn no_bytes_make_either_half_panic(
        first in proptest::collection::vec(any::<u8>(), 0..80), last in "[cnrpyasv=,+/A-Za-z0-9]{0,120}"
    ) {
        let verifier = Arc::new(Verifier::mock(&[1; 32], "x"));
        let _ = ServerExchange::begin(&first, verifier.clone(), "s", Binding::NotOffered);
        let _ = ServerExchange::begin(last.as_bytes(), verifier.clone(), "s", Binding::Chosen(&first));
        let server = || ServerExchange::begin(b"n,,n=,r=c", verifier.clone(), "s", Binding::NotOffered).unwrap();
        let _ = server().finish(&first);
        prop_assert!(server().finish(last.as_bytes()).is_err());
        let client = ClientExchange::begin("c".to_owned(), "n,,", &[]);
        let _ = client.challenge(&first);
        let _ = client.challenge(last.as_bytes());
        let _ = Expected(Some([0; 32])).verify(&first);
        let _ = Verifier::parse(&last);
    }

    #[test]
    fn right_passwords_pass_and_others_do_not(password in ".{1,12}", other in "[a-z]{1,12}", header in 0..2u8) {
        let verifier = verifier(&password);
        let header = if header == 0 { "n,," } else { "y,," };
        exchange(&verifier, with_password(&password), header, Binding::NotOffered).unwrap();
        if normalized(password.as_bytes()) != normalized(other.as_bytes()) {
            let failed = exchange(&verifier, with_password(&other), header, Binding::NotOffered);
            prop_assert_eq!(failed.unwrap_err(), ScramError::WrongProof);
        }
    }
}
