//! Keys of rows: parts one after the other, so that their order in bytes is their order in meaning and no key is the
//! beginning of another with other parts.
//!
//! Ids have a fixed length; numbers are big-endian; names and texts stand behind their length. Not here: which tenant a
//! key belongs to (`scope.rs`).

use strongroom_format::id::{
    BlobId, ChunkId, DekId, Digest, DomainId, GroupId, IdentityId, KeyEpoch, LeaseId, NodeName, Nonce, ReplicaId,
    SessionId, SnapshotId, StreamName, TenantId, TenantName, TicketId, TreeId, VaultId, VaultName,
};
use strongroom_format::label::Label;

/// One part of a key.
pub(crate) trait KeyPart: Sized {
    /// Appends the part.
    fn write(&self, key: &mut Vec<u8>);
    /// Takes the part off the front; `None`: these bytes are no such part.
    fn read(key: &mut &[u8]) -> Option<Self>;
}

/// All parts of a key, or the first ones.
pub(crate) trait Key: Sized {
    /// Appends the parts.
    fn write(&self, key: &mut Vec<u8>);
    /// Reads exactly these parts.
    fn read(key: &[u8]) -> Option<Self>;
}

/// The first key after all that begin with `prefix`.
pub(crate) fn after_all(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return end;
        }
    }
    // Nothing but 0xff: no key of ours is so long.
    vec![u8::MAX; 4096]
}

fn take<'a>(key: &mut &'a [u8], bytes: usize) -> Option<&'a [u8]> {
    let (head, tail) = key.split_at_checked(bytes)?;
    *key = tail;
    Some(head)
}

macro_rules! id_parts {
    ($($id:ident),+) => {$(
        impl KeyPart for $id {
            fn write(&self, key: &mut Vec<u8>) {
                key.extend_from_slice(self.as_bytes());
            }

            fn read(key: &mut &[u8]) -> Option<Self> {
                $id::from_slice(take(key, $id::BYTES)?).ok()
            }
        }
    )+};
}

id_parts!(BlobId, ChunkId, DekId, Digest, DomainId, Nonce, SnapshotId, TenantId, TicketId, TreeId, VaultId);

macro_rules! number_parts {
    ($($number:ty),+) => {$(
        impl KeyPart for $number {
            fn write(&self, key: &mut Vec<u8>) {
                key.extend_from_slice(&self.to_be_bytes());
            }

            fn read(key: &mut &[u8]) -> Option<Self> {
                Some(<$number>::from_be_bytes(take(key, size_of::<$number>())?.try_into().ok()?))
            }
        }
    )+};
}

number_parts!(u8, u32, u64);

macro_rules! number_id_parts {
    ($($id:ident),+) => {$(
        impl KeyPart for $id {
            fn write(&self, key: &mut Vec<u8>) {
                self.0.write(key);
            }

            fn read(key: &mut &[u8]) -> Option<Self> {
                KeyPart::read(key).map($id)
            }
        }
    )+};
}

number_id_parts!(GroupId, KeyEpoch, LeaseId, ReplicaId, SessionId);

fn write_text(text: &str, key: &mut Vec<u8>) {
    let length = u16::try_from(text.len()).expect("names and labels are short");
    key.extend_from_slice(&length.to_be_bytes());
    key.extend_from_slice(text.as_bytes());
}

fn read_text<'a>(key: &mut &'a [u8]) -> Option<&'a str> {
    let length = u16::from_be_bytes(take(key, 2)?.try_into().ok()?);
    std::str::from_utf8(take(key, usize::from(length))?).ok()
}

macro_rules! text_parts {
    ($($name:ident),+) => {$(
        impl KeyPart for $name {
            fn write(&self, key: &mut Vec<u8>) {
                write_text(self.0.as_str(), key);
            }

            fn read(key: &mut &[u8]) -> Option<Self> {
                read_text(key)?.parse().ok()
            }
        }
    )+};
}

text_parts!(IdentityId, NodeName, StreamName, TenantName, VaultName);

impl KeyPart for Label {
    fn write(&self, key: &mut Vec<u8>) {
        write_text(self.as_str(), key);
    }

    fn read(key: &mut &[u8]) -> Option<Self> {
        read_text(key)?.parse().ok()
    }
}

macro_rules! keys {
    ($(($($part:ident $at:tt),*)),+) => {$(
        impl<$($part: KeyPart),*> Key for ($($part,)*) {
            fn write(&self, _key: &mut Vec<u8>) {
                $(self.$at.write(_key);)*
            }

            fn read(key: &[u8]) -> Option<Self> {
                #[allow(unused_mut, reason = "a key without parts changes nothing")]
                let mut rest = key;
                let parts = ($($part::read(&mut rest)?,)*);
                rest.is_empty().then_some(parts)
            }
        }
    )+};
}

keys!(
    (),
    (A 0),
    (A 0, B 1),
    (A 0, B 1, C 2),
    (A 0, B 1, C 2, D 3),
    (A 0, B 1, C 2, D 3, E 4)
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_as_they_were_written_and_whole() {
        let parts = (VaultId::from_bytes([7; 16]), "agent".parse::<IdentityId>().unwrap(), 9_u64, GroupId(3));
        let mut key = Vec::new();
        parts.write(&mut key);
        assert_eq!(<(VaultId, IdentityId, u64, GroupId)>::read(&key), Some(parts));
        assert_eq!(<(VaultId, IdentityId, u64)>::read(&key), None, "rest bytes");
        assert_eq!(<(VaultId, IdentityId, u64, GroupId)>::read(&key[..key.len() - 1]), None, "cut short");
    }

    #[test]
    fn numbers_keep_their_order() {
        let key = |number: u64| {
            let mut key = Vec::new();
            (number,).write(&mut key);
            key
        };
        assert!(key(255) < key(256) && key(256) < key(u64::MAX));
    }

    #[test]
    fn after_all_is_the_least_key_behind_a_prefix() {
        assert_eq!(after_all(&[1, 2]), [1, 3]);
        assert_eq!(after_all(&[1, 255, 255]), [2]);
        assert!(after_all(&[255; 16]) > vec![255; 2000]);
        assert!(after_all(&[]) > vec![254; 16]);
    }
}
