#![allow(clippy::unwrap_used)]
use super::*;

fn certificate(algorithm: &'static rcgen::SignatureAlgorithm, names: &[&str]) -> Vec<u8> {
    let key = rcgen::KeyPair::generate_for(algorithm).unwrap();
    let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    for name in names {
        params.distinguished_name.push(rcgen::DnType::CommonName, *name);
    }
    params.self_signed(&key).unwrap().der().to_vec()
}

#[test]
fn what_binds_is_hashed_as_the_certificate_is_signed() {
    let hashed = |der: &[u8], by| Some(digest::digest(by, der).as_ref().to_vec());
    let short = certificate(&rcgen::PKCS_ECDSA_P256_SHA256, &["a"]);
    let long = certificate(&rcgen::PKCS_ECDSA_P384_SHA384, &["a"]);
    assert_eq!(end_point(&short), hashed(&short, &digest::SHA256));
    assert_eq!(end_point(&long), hashed(&long, &digest::SHA384));
    assert_eq!(end_point(&certificate(&rcgen::PKCS_ED25519, &["a"])), None);
}

#[test]
fn a_certificate_names_its_owner() {
    let name = |names: &[&str]| common_name(&certificate(&rcgen::PKCS_ED25519, names));
    assert_eq!(name(&["ann"]).as_deref(), Some("ann"));
    assert_eq!(name(&["J\u{f6}rg"]).as_deref(), Some("J\u{f6}rg"));
    assert_eq!((name(&[]), name(&[""]), name(&["ann\0.evil"])), (None, None, None));
}

proptest::proptest! {
    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200), cut in 0usize..400) {
        let _ = (end_point(&bytes), common_name(&bytes), expiry(&bytes));
        let mut real = certificate(&rcgen::PKCS_ED25519, &["ann"]);
        if let Some(byte) = real.get_mut(cut) {
            *byte ^= bytes.first().copied().unwrap_or(1);
        }
        let _ = (end_point(&real), common_name(&real), expiry(&real));
        real.truncate(cut);
        let _ = (end_point(&real), common_name(&real), expiry(&real));
    }
}
