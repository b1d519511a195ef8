//! The commands, one file each: its flags, what it does, how its result looks.

pub mod audit_list;
pub mod backup;
pub mod enrol;
pub mod identity_close;
pub mod identity_list;
pub mod identity_token;
pub mod init_key;
pub mod issuer;
pub mod ls;
pub mod node_token;
pub mod receipt_get;
pub mod receipt_verify;
pub mod restore;
pub mod shard_create;
pub mod snapshots;
pub mod status;
pub mod tenant_create;
pub mod tenant_standing;
pub mod vault_card;
pub mod vault_create;
pub mod vault_list;
pub mod vault_show;
pub mod verify;
