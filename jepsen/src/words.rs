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

// What follows is asked for by workloads of their own; the head of `judges.rs` says of each what its judge expects.

/// A register is read; value: `value`, which is null before the first write.
pub const READ: &str = "read";
/// A register is set, whatever it was; argument: `value`.
pub const WRITE: &str = "write";
/// A register is set if it has an expected value; argument: `from`, `value`.
pub const CAS: &str = "cas";
/// Elements are appended to lists, to all at once; argument: `elements`, by list.
pub const APPEND: &str = "append";
/// Lists are read in one listing; value: `lists`, each with its elements in order.
pub const LISTS: &str = "lists";
/// An element is put into a set; the key is the set; argument: `element`.
pub const ADD: &str = "add";
/// A set is read; value: `elements`, as often as they are there.
pub const ELEMENTS: &str = "elements";
/// A snapshot is made under a lock; the key is its label; argument: `digest`, `mode`, `seconds`; value: `snapshot`.
pub const KEEP: &str = "keep";
/// A kept snapshot is given back; the key is its id, as in all that follows; value: `digest`.
pub const GET: &str = "get";
/// What keeps a snapshot is shown; value: `lock`, as `lock show` has it.
pub const SHOW: &str = "show";
/// A lock is made longer or stricter; argument: `mode`, and `seconds` or `until_unix_ms`.
pub const EXTEND: &str = "extend";
/// A shorter lock is wished for; argument: `seconds`, `wait_seconds`.
pub const WEAKEN: &str = "weaken";
/// That wish is withdrawn.
pub const CANCEL: &str = "cancel";
/// A legal hold is put on a snapshot; argument: `hold`.
pub const HOLD: &str = "hold";
/// It is taken off; argument: `hold`.
pub const RELEASE: &str = "release";
/// A snapshot is deleted.
pub const DELETE: &str = "delete";
/// Something else that would end snapshots; the key says what; argument: `snapshots`, their ids.
pub const DESTROY: &str = "destroy";
/// The cluster is made, or was made just before; argument: `before_seconds`.
pub const INIT: &str = "init";
/// The cluster's clocks are read; value: `shards`, as `clock` has them.
pub const CLOCK: &str = "clock";
/// What a tenant uses is read; argument: `final`; value: `usage`, the lines of `usage`.
pub const USAGE: &str = "usage";
/// A quota is set; the key is `tenant`, or `vault` or `writer` with a colon and its name; argument: hard limits.
pub const LIMIT: &str = "limit";
/// A snapshot is made that a quota may refuse; the key is its label; argument: `vault`, `writer`, `digest`; value: `snapshot`.
pub const CHARGE: &str = "charge";
/// All snapshots of a tenant, while nothing is under way; value: `snapshots`.
pub const STOCK: &str = "stock";
/// What a node's disk holds; the key is its name; argument: `phase`; value: `bytes`.
pub const SPACE: &str = "space";
/// A tenant's audit log is listed from its beginning; argument: `phase`; value: `leaves`, the lines of `audit list`.
pub const AUDIT: &str = "audit";
/// State digests of a node's groups; the key is the node; value: `groups`, the lines of `strongroomd inspect`.
pub const BEACON: &str = "beacon";
/// What lies on the disks of stopped nodes is counted again; value: `groups`, `copies`, `broken`: what differs, each with its
/// `node` and fsck's `line`.
pub const RECOUNT: &str = "recount";
/// Which laws the run is about, beside those that are always judged; argument: `laws`.
pub const ASKED: &str = "asked";

/// An attack that this host cannot make is left out; the key is the attack; the error says what is missing.
pub const SKIPPED: &str = "skipped";
