//! What we read in certificates, and rustls does not say: when one expires, whom it names, what binds to it.

use ring::digest;
use x509_parser::prelude::{FromDer as _, X509Certificate};
use x509_parser::signature_algorithm::SignatureAlgorithm;

/// The one algorithm whose hash stands in its parameters.
const RSASSA_PSS: &str = "1.2.840.113549.1.1.10";

/// `notAfter`, in seconds since 1970; the error is a sentence.
pub(super) fn expiry(der: &[u8]) -> Result<i64, String> {
    let (_, certificate) =
        X509Certificate::from_der(der).map_err(|error| format!("not a certificate: {error}"))?;
    Ok(certificate.validity().not_after.timestamp())
}

/// The subject's common name, the first if there are several, as PostgreSQL's `cert` takes it. `None` also for one
/// with a zero byte in it, which could be made to look like another.
pub(super) fn common_name(der: &[u8]) -> Option<String> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let name = certificate.subject().iter_common_name().next()?.as_str().ok()?;
    (!name.is_empty() && !name.contains('\0')).then(|| name.to_owned())
}

/// `tls-server-end-point` (RFC 5929): the certificate's hash by the hash of its own signature, SHA-256 in place of
/// MD5 and SHA-1. `None` where the signature has no hash of its own (Ed25519) or one that we do not have.
pub(super) fn end_point(der: &[u8]) -> Option<Vec<u8>> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let signed = &certificate.signature_algorithm;
    let mut hash = signed.algorithm.to_id_string();
    if hash == RSASSA_PSS {
        let SignatureAlgorithm::RSASSA_PSS(parameters) = SignatureAlgorithm::try_from(signed).ok()? else {
            return None;
        };
        hash = parameters.hash_algorithm_oid().to_id_string();
    }
    let algorithm = match hash.as_str() {
        // md5WithRSA, sha1WithRSA, dsaWithSha1, ecdsaWithSha1; and sha1 itself.
        "1.2.840.113549.1.1.4"
        | "1.2.840.113549.1.1.5"
        | "1.2.840.10040.4.3"
        | "1.2.840.10045.4.1"
        | "1.3.14.3.2.26" => &digest::SHA256,
        // RSA, ECDSA and DSA with SHA-2, by the hash; and the hashes themselves.
        "1.2.840.113549.1.1.11"
        | "1.2.840.10045.4.3.2"
        | "2.16.840.1.101.3.4.3.2"
        | "2.16.840.1.101.3.4.2.1" => &digest::SHA256,
        "1.2.840.113549.1.1.12"
        | "1.2.840.10045.4.3.3"
        | "2.16.840.1.101.3.4.3.3"
        | "2.16.840.1.101.3.4.2.2" => &digest::SHA384,
        "1.2.840.113549.1.1.13"
        | "1.2.840.10045.4.3.4"
        | "2.16.840.1.101.3.4.3.4"
        | "2.16.840.1.101.3.4.2.3" => &digest::SHA512,
        _ => return None,
    };
    Some(digest::digest(algorithm, der).as_ref().to_vec())
}

#[cfg(test)]
#[path = "x509_tests.rs"]
mod tests;
