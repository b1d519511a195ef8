//! What stands in `f` of an event: what was asked or done.

/// A snapshot is made; the key is its label, which no other backup has; argument: `digest`; value: `snapshot`.
pub const BACKUP: &str = "backup";
/// A snapshot is restored; argument: `snapshot`, `final`; value: `digest` of what was restored.
pub const RESTORE: &str = "restore";
/// All snapshots of a tenant; argument: `final`; value: `labels`, each with the ids that have it.
pub const LIST: &str = "list";
/// The names in a snapshot are shown.
pub const LS: &str = "ls";
/// A vault is made; the key is its name, which several attempts may share.
pub const VAULT: &str = "vault";
/// All vaults of a tenant; argument: `final`; value: `names`, each with how often it is there.
pub const VAULTS: &str = "vaults";
/// A tenant asks for another tenant's snapshot.
pub const STEAL: &str = "steal";
/// A tenant asks for a snapshot that nobody has.
pub const ABSENT: &str = "absent";
/// Something is done to nodes; the key is the attack; ok: it was seen to take effect.
pub const FAULT: &str = "fault";
/// It is undone; ok: all nodes serve again; argument: `deadline_s`.
pub const MEND: &str = "mend";
/// No fault from now on; value: `nodes`, `tenants`, `deadline_s`.
pub const HEALED: &str = "healed";
/// A node is ready; the key is its name.
pub const READY: &str = "ready";
/// Every shard has a leader.
pub const LED: &str = "led";
/// A tenant's backup and restore succeed; the key is the tenant.
pub const SERVES: &str = "serves";
/// Some bytes are searched for canaries; the key says which; value: `bytes`, `hits`.
pub const SCAN: &str = "scan";
