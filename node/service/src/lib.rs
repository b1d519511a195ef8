//! The data path and the workers of a node: what carries out what the rules decided, and reports facts back.
//!
//! ```text
//!   upload ─▶ spread ─▶ members ─▶ disk           restore ─▶ gather ─▶ members ─▶ disk
//!     │         └ handover (pure)                   │          ├ holders (pure)
//!     │                                             │          └ solve (pure)
//!     └────▶ propose ─┐                             └────▶ reads ─┐
//!                     ├─▶ route ─▶ whoever leads a group ◀────────┤
//!            workers ─┴─▶ majority ─▶ attest, on each voter of another group ──────┘
//! ```
//!
//! Promises: a chunk is registered only when its fragments are durable; what is gathered has the hash that it was wanted
//! by; a proposal whose fate is unknown is called so; nothing here decides for a tenant.
//! Not here: the doors (`node/api`), the rules (`node/core`), where tasks are started (the node's wiring: each worker is
//! a `run` of its own).
//!
//! # Workers, and who may run beside whom
//!
//! Each is look → decide → act, paced. All of them run on every node and have work only where this node leads a group
//! (*follow* has it everywhere). What two of them propose meets in one log, in one order.
//!
//! | | runs | follow | tenants | tick | decide | admit | rebuild | members | keep |
//! |---|---|---|---|---|---|---|---|---|---|
//! | *follow* (`follow.rs`) | when the cluster group applies | one at a time: it owns the topology and this node's replicas | *tenants* reads what *follow* published; an older map admits less, never wrongly: facts carry versions | nothing shared | nothing shared | a replica that *follow* starts asks first; the gate names it by replica id, so a verdict about an earlier one counts for nothing | only *follow* stops, forgets and starts; *rebuild* asks and waits until the map names another replica | a learner is added before or after *follow* starts it: Raft sends again | nothing shared |
//! | *tenants* (`tenants.rs`) | each 0.5 s, and when the map changes | | two leaders may tell a shard the same; the same facts again change nothing | founding comes before time: a shard that is not founded has no clock to tick | parts exist only of admitted tenants | a replica that is not admitted does not lead | a fenced leader has handed over; what it proposes in vain is proposed again | facts name members as they were founded; `ReplaceMember` compares what it replaces | locks exist only of admitted tenants |
//! | *tick* (`tick.rs`) | looks each second | | | a tick names the one before: of two leaders' ticks the rules take one | a part that waits is dropped by no tick | a replica that is not admitted reports nothing: what others know of it only grows | a fenced replica reports nothing more; a majority is enough | a voter that leaves or comes between report and tick: the rules take reports of the voters that they have then | beginnings are the tick's, lengths the orders' |
//! | *decide* (`decide.rs`) | each 0.5 s | | | | the home shard's word never flips: carried twice it changes nothing | as *tenants* | as *tenants* | a part's rows name slots, not replicas | a part that is not decided hears of its lock with the decision; told again, it takes over what is newer |
//! | *admit* (`admit.rs`) | each 0.1 s while a replica asks, each 2 s while a voter has not answered | | | | | one verdict a replica: the gate never takes a loss back | a loss found by either stays the first one | a new member is admitted by the voters that the rows name, itself among them | as *tenants* |
//! | *rebuild* (`rebuild.rs`) | each 0.5 s, and on consensus' events | | | | | | the cluster group allots one new id for a current one, or for one that was to come; asking again is refused and harmless | one replacement at a time in a group: the second one is refused until `MemberReplaced` | as *tenants* |
//! | *members* (`membership.rs`) | each 0.25 s, and when the map changes | | | | | | | of two leaders' controllers one succeeds: each step compares the membership's log id, each entry what it replaces | rows of locks name shards, not replicas |
//! | *keep* (`keeping.rs`) | each 0.5 s | | | | | | | | of two leaders' words both carry a version: the second changes nothing |
//!
//! Workers that take away, against everything that may run beside them; what stands here was tested by the name behind it:
//!
//! *Policies* (`policies.rs`, each `expire_seconds`) ends snapshots at home and nothing else: the table after this one.
//!
//! | | *expire* (`expire.rs`, each second) | *collect* (`collect.rs`, each second) | *sweep* (`sweep.rs`, each pass) |
//! |---|---|---|---|
//! | *follow*, *members*, *rebuild*, *admit* | words go into logs; whoever leads | as *expire* | a replica is asked that was admitted under this id all through the pass; one that is lost, replaced or away is not asked, and its copies stay (`sweep` only over `Gate`) |
//! | *tenants* | parts exist only of admitted tenants | garbage exists only of admitted tenants | a tenant whose row is not here yet has no copies that go (`n73_nothing_goes_while_its_lease_is_open_or_unknown`) |
//! | *tick* | a part's lock is over by its own group's clock or the word is refused (`n57_…`) | a lease's row decides, not its time: what a tick ends is queued in the same entry (`what_an_upload_leaves_goes_after_its_lease_and_not_before`) | only a tick shows whose digest is shared |
//! | *decide* | a part hears of the commit first, of the end next (`ends_go_from_the_home_row_to_the_parts_and_nowhere_else`) | a part that waits holds what it named | as *collect* |
//! | *keep* | nothing ends while a shard is behind with an order, and a part asks its own lock (`n57_n60_…`) | locks keep snapshots, and rows stay while those do | as *collect* |
//! | *expire* | the word never changes: carried twice it changes nothing | a part let go is queued in the same entry | rows name copies until *collect* took them |
//! | *collect* | | of two leaders' steps each is whole: counts are exact after every entry (`a_step_drops_no_more_…`) | what is not named and not under a lease is never named again (`laws/releases_stay_true.rs`) |
//! | *sweep* | | | one write lane a disk: freeing runs between groups of writes (`node/chunks` crash tests) |
//! | checkpoint, Raft snapshot | | | a release from rows that are older or newer than the checkpoint stays true; after a crash the same entries make the same rows, and a snapshot skips none of their consequences (`laws/releases_stay_true.rs`) |
//! | upload | one under way into an ended vault is refused at its commit | its own lease holds what it brought; what it was told of and went meanwhile is listed as missing and sent again (`n34_what_went_meanwhile_…`, `n65_…`) | its lease is open, or on a replica that lags not known yet: both keep the copy |
//! | commit | the home shard decides in one entry, before or behind the end | as upload | a row names its copies in the entry that registers them, under an open lease |
//! | restore | a session pins its snapshots: the end is refused while it lasts (`a_restore_session_keeps_…`) | rows stay while the snapshot does | copies stay while rows do; a read that meets a hole looks again and finds no row (`store.rs`) |
//!
//! What keeps *policies* apart from each of them; all it says is *look there*, and the rules decide by their rows in the
//! entry that ends (`laws/policies_end_what_nothing_keeps.rs` after every entry of every property):
//!
//! | | *policies* |
//! |---|---|
//! | *follow*, *members*, *rebuild*, *admit* | steps go into logs; whoever leads. Two leaders' steps are two looks: the second finds nothing to end |
//! | *tenants* | nothing ends in a tenant that is suspended or ended (`n31_nothing_ends_by_policy_…`); an older map has fewer tenants |
//! | *tick* | the clock that a step goes by is that of the ticks before it; a lock that waits for its beginning is locked (`n57_n60_what_is_locked_…`) |
//! | *decide* | it ends what is committed; a part elsewhere hears of the commit first, of the end next |
//! | *keep* | nothing ends with which a shard is behind (`n57_n60_…`) |
//! | *expire* | the end that it makes is what *expire* tells |
//! | *collect* | a part let go is queued in the same entry |
//! | *sweep* | rows name copies until *collect* took them |
//! | checkpoint, Raft snapshot | an end is an entry like any other |
//! | upload, commit | the newest of a name stays; a commit behind the step is newer still, and one before it is seen by it |
//! | restore | a session pins its snapshots (`n57_n60_…`); opened behind the step it finds no snapshot |
//! | an admin's orders, policies, holds | one log: before the step it counts, behind it comes too late; what has ended is ended once (`the_dry_run_says_just_what_goes_…`) |
//!
//! Uploads and restores run beside all of them: an upload stands on its lease, which ends only by a tick or its owner,
//! and a copy written too late is released, never registered; a restore stands on rows that a session pins.
//! Workers still to come (scrub, prove, repair, rebalance) get their column here first.

mod act;
pub mod admit;
pub mod attest;
pub mod caller;
pub mod carry;
pub mod catalog;
pub mod coders;
pub mod collect;
pub mod decide;
pub mod expire;
pub mod follow;
pub mod founding;
pub mod gate;
pub mod gather;
pub mod handover;
pub mod holders;
pub mod keeping;
mod lag;
mod leading;
pub mod majority;
pub mod members;
pub mod membership;
pub mod metrics;
pub mod policies;
pub mod propose;
pub mod rates;
pub mod readiness;
pub mod reads;
pub mod rebuild;
pub mod receipts;
pub mod replicas;
pub mod report;
pub mod restore;
pub mod route;
pub mod sign;
pub mod solve;
pub mod spread;
pub mod standing;
pub mod status;
pub mod sweep;
pub mod tenants;
pub mod tick;
pub mod topology;
pub mod upload;
pub mod usage;
pub mod voice;
mod vouch;
mod wrong;
