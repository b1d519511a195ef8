//! Whether a revocation list is what an operator says that it is, before it enters the log: of this CA, signed by it, with
//! this number.
//!
//! The rules cannot read certificates, and a list's number only grows: a foreign list with a high number would shut the
//! CA's own ones out. So the door reads it, against the certificate that the cluster group's leader has. A node that does
//! not look can spoil a CA's next lists; the last good one stays in force everywhere (`node/identity`, `issuers.rs`).
//! Not here: what is revoked, when a list ends.

use rustls_pki_types::{CertificateDer, CertificateRevocationListDer};
use strongroom_proto_identity::verify::Anchor;
use tonic::Code;

use crate::answers::Answer;

/// Refuses a list that the CA with this certificate did not sign, or signed under another number.
pub(crate) fn check(certificate: &[u8], number: u64, list: &[u8]) -> Result<(), Answer> {
    let list = CertificateRevocationListDer::from(list);
    let anchor = Anchor::read(&CertificateDer::from(certificate)).map_err(|fault| no(fault.to_string()))?;
    anchor.with_revocations(&list).map_err(|fault| no(fault.to_string()))?;
    match anchor.revocations_number(&list) {
        Ok(its) if its == number => Ok(()),
        Ok(its) => Err(no(format!("the list has number {its}, not {number}"))),
        Err(fault) => Err(no(fault.to_string())),
    }
}

fn no(text: String) -> Answer {
    Answer::new(Code::InvalidArgument, "REVOCATIONS", text)
}

#[cfg(test)]
mod tests {
    use strongroom_format::role::Plane;
    use strongroom_identity::ca::Ca;
    use strongroom_proto_identity::certificate::Life;

    use super::*;

    const LIFE: Life = Life { not_before_unix_s: 1_795_000_000, not_after_unix_s: 1_795_000_000 + 86_400 };

    #[test]
    fn a_list_is_taken_only_from_the_ca_that_signed_it_and_under_its_number() {
        let ca = |plane| Ca::create(&"vault".to_owned().try_into().unwrap(), plane, LIFE).unwrap();
        let (ours, other_plane, same_name) = (ca(Plane::Tenant), ca(Plane::Peer), ca(Plane::Tenant));
        let list = ours.revoke(&[vec![7; 16]], 5, LIFE).unwrap();
        assert_eq!(check(ours.certificate(), 5, &list), Ok(()));
        for refused in [
            check(ours.certificate(), 6, &list),
            check(ours.certificate(), u64::MAX, &list),
            check(other_plane.certificate(), 5, &list),
            check(same_name.certificate(), 5, &list),
            check(ours.certificate(), 5, b"no list"),
            check(b"no certificate", 5, &list),
        ] {
            assert_eq!(refused.unwrap_err().reason, "REVOCATIONS");
        }
        let mut altered = list.clone();
        *altered.last_mut().unwrap() ^= 1;
        assert!(check(ours.certificate(), 5, &altered).is_err());
    }
}
