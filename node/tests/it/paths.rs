//! Every path on which something could be destroyed, generated from the descriptors and the commands themselves: what is
//! not on the list stops the build, or this test.
//!
//! ```text
//!   service descriptors ─▶ every RPC ────────────┐
//!   Body, EndOrder, LockOrder, OperatorBody,     ├─▶ a verdict: harmless, and why · or attacked, and by whom
//!   NodeCommand, EntryCommand ─▶ every variant ──┘
//! ```
//!
//! A match names every variant, so that a new one without a verdict does not compile; RPCs are walked at run time. What is
//! attacked here in this crate is a function of `destructive.rs`, which sends a sample of every variant
//! ([`covers_all`]); what is attacked elsewhere names the tests, and they must exist. Not here: the attacks.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use borsh::{BorshDeserialize, BorshSerialize};
use prost::Message as _;
use prost_types::FileDescriptorSet;
use strongroom_core::entry::{EntryCommand, NodeCommand};
use strongroom_format::command::{Body, OperatorBody};
use strongroom_format::ending::EndOrder;
use strongroom_format::lock_order::LockOrder;

/// What a path can do to what is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing: why.
    Harmless(&'static str),
    /// It is aimed at what is kept, by `destructive.rs`, and is refused.
    Refused,
    /// It is aimed at what is kept, by `destructive.rs`; it may be done, and what is kept stays: why.
    Done(&'static str),
    /// It is attacked by these tests, which need more than a command.
    Elsewhere(&'static [&'static str]),
}

use Verdict::{Done, Elsewhere, Harmless, Refused};

/// Of an RPC; `None`: nobody has thought of it.
fn of_rpc(path: &str) -> Option<Verdict> {
    let (service, method) = path.strip_prefix("/strongroom.v1.")?.split_once('/')?;
    let verdict = match (service, method) {
        // What it carries has verdicts of its own, below.
        ("Vaults" | "Operators", "Submit") | ("Peers", "Propose") => Refused,
        ("Vaults", "Upload") => Elsewhere(&[
            "n37_what_exists_is_not_overwritten_and_a_second_blob_lies_beside_the_first",
            "n97_a_node_that_is_no_member_of_the_shard_neither_puts_nor_gets",
        ]),
        ("Vaults", "FetchRun") => Harmless("it reads; what it finds bad is counted and stays"),
        (
            "Vaults",
            "GetCheckpoint" | "GetLock" | "GetNodes" | "GetPolicy" | "GetReceipt" | "GetSnapshot" | "GetTicket"
            | "GetVault" | "GetWraps" | "ListAudit" | "ListIdentities" | "ListSnapshots" | "ListVaults"
            | "PreviewPolicy" | "Status" | "Topology" | "Usage" | "Which",
        )
        | ("Operators", "Describe" | "Status") => Harmless("it reads rows"),
        ("Authority", "Issue") => Harmless("a certificate alone decides nothing"),
        ("Enrolment", "Certify" | "Enrol") => {
            Elsewhere(&["n106_a_tenant_that_has_ended_leaves_its_name_and_id_to_nobody_and_its_people_nothing"])
        }
        ("Peers", "GetFragments" | "Known" | "Ping" | "Query") => Harmless("it reads"),
        ("Peers", "PutFragments") => Elsewhere(&[
            "n97_an_approved_node_that_is_no_member_of_a_shard_neither_gets_nor_gives_a_fragment",
            "n97_a_node_that_is_no_member_of_the_shard_neither_puts_nor_gets",
            "n73_a_copy_leaves_only_against_a_release_of_just_it",
        ]),
        ("Peers", "Raft") => Elsewhere(&[
            "n95_a_raft_message_in_another_nodes_name_is_refused_counted_and_told",
            "n72_an_old_data_directory_put_back_on_one_voter_is_detected_and_its_replicas_are_rebuilt",
            "n72_whoever_is_known_to_have_had_more_is_rolled_back",
        ]),
        ("Peers", "Report") => Elsewhere(&[
            "n70_a_leader_that_invents_changes_or_doubles_reports_moves_nothing",
            "n95_a_node_that_asks_about_another_nodes_replica_is_refused",
        ]),
        ("Peers", "SignCheckpoint") => {
            Elsewhere(&["n134_a_log_that_one_node_made_up_is_not_believed_whoever_it_says_votes"])
        }
        ("Peers", "SignClaims") => Elsewhere(&["n34_n109_a_hostile_node_speaks_for_no_other_group"]),
        _ => return None,
    };
    Some(verdict)
}

/// Of a tenant's command.
pub fn of_body(body: &Body) -> Verdict {
    match body {
        Body::OpenSession { .. } | Body::EndSession | Body::Ask { .. } => Harmless("a session names no snapshot"),
        Body::EnrolIdentity { .. } | Body::IssueToken { .. } => Refused,
        Body::CloseIdentity { .. } => Done("what somebody backed up stays when its writer is closed"),
        Body::CreateVault { .. } => Refused,
        Body::UpdateStatement { .. } => Done("a statement says who can open later snapshots"),
        Body::PutCard { .. } => Refused,
        Body::OpenSnapshot(_) | Body::JoinSnapshot { .. } | Body::SealPart { .. } => Refused,
        Body::CommitSnapshot { .. } | Body::AbortSnapshot { .. } => Refused,
        Body::TopUp { .. } | Body::RegisterChunks { .. } | Body::PutNodes { .. } => Refused,
        Body::OpenRestore { .. } => Done("it pins what it names"),
        Body::EndRestore { .. } => Refused,
        Body::ReportBlob { .. } => Done("a report marks, and takes nothing away"),
        Body::OpenTicket(_) | Body::AbortTicket { .. } => Refused,
        Body::End(order) => match order {
            EndOrder::DeleteSnapshot { .. } | EndOrder::DeleteVault { .. } => Refused,
        },
        Body::Lock(order) => match order {
            LockOrder::SetPolicy { .. } => Done("what snapshots were given they keep, and so does whoever expires"),
            LockOrder::LockVault { .. } => Done("a policy then only gets stricter"),
            LockOrder::WithdrawVaultLock { .. } => {
                Done("the policy may be looser again; what snapshots have they keep")
            }
            LockOrder::ExtendLock { .. } => Refused,
            LockOrder::WeakenLock { .. } => Done("under governance a wish waits for 72 hours in which it is cancelled"),
            LockOrder::CancelWeakening { .. } => Done("it takes such a wish back"),
            LockOrder::AddHold { .. } | LockOrder::RemoveHold { .. } => Refused,
        },
        Body::SetQuotas { .. } => Done("a quota evicts nothing"),
    }
}

/// Of an operator's command.
pub fn of_operator(body: &OperatorBody) -> Verdict {
    match body {
        OperatorBody::CreateTenant { .. } => Refused,
        OperatorBody::RegisterIssuer { .. }
        | OperatorBody::RetireIssuer { .. }
        | OperatorBody::PutRevocations { .. } => Refused,
        OperatorBody::SuspendTenant { .. } => Done("its people stop, its snapshots stay, and no policy ends any"),
        OperatorBody::ResumeTenant { .. } => Done("they go on"),
        OperatorBody::EndTenant { .. } => Done("nobody of it gets in any more, and nothing of it goes"),
        OperatorBody::IssueNodeToken { .. } => Done("a node that joins holds no copy"),
        OperatorBody::CreateShard { .. } => Refused,
        OperatorBody::LimitTenant { .. } => Done("a quota evicts nothing"),
    }
}

/// Of what a node says, here with a node's certificate and key, past its software: what a rogue leader could propose.
pub fn of_node(command: &NodeCommand) -> Verdict {
    match command {
        NodeCommand::Found(_) | NodeCommand::FoundShard(_) | NodeCommand::AdmitTenant(_) => Refused,
        NodeCommand::Tick(_) => Refused,
        NodeCommand::DecidePart(_) | NodeCommand::HideBlob(_) => Refused,
        NodeCommand::ReplaceMember(_) | NodeCommand::RebuildReplica(_) | NodeCommand::MemberReplaced(_) => Refused,
        NodeCommand::EndPart(_) | NodeCommand::PartEnded(_) => Refused,
        NodeCommand::CollectGarbage { .. } => Done("it takes what nothing names"),
        NodeCommand::TellElectorate(_) => Refused,
        NodeCommand::KeepPart(_) | NodeCommand::PartKept(_) => Refused,
        NodeCommand::Expire { .. } => Done("the rules decide what ends"),
    }
}

/// Of an entry's command, by who stands for it.
pub fn of_entry(command: &EntryCommand) -> Verdict {
    match command {
        EntryCommand::Client(_) | EntryCommand::Vouched(_) | EntryCommand::Attested { .. } => Refused,
        EntryCommand::Operator(_) | EntryCommand::Redeem(_) => Refused,
        EntryCommand::Node(command) => of_node(command),
    }
}

/// That samples have every variant of an enum that borsh numbers in one byte.
#[track_caller]
pub fn covers_all<T: BorshSerialize + BorshDeserialize>(what: &str, samples: &[T]) {
    let sent: BTreeSet<u8> =
        samples.iter().map(|sample| borsh::to_vec(sample).expect("memory takes any bytes")[0]).collect();
    let exists = |variant: &u8| match borsh::from_slice::<T>(&[*variant]) {
        Ok(_) => true,
        // A variant that is there wants more bytes.
        Err(fault) => !fault.to_string().contains("Unexpected variant"),
    };
    let all: BTreeSet<u8> = (0..=u8::MAX).filter(exists).collect();
    assert!(1 < all.len() && all.len() < 100, "{what}: {all:?}");
    assert_eq!(sent, all, "{what}: a sample of every variant is sent");
}

fn rust_files(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).expect("sources are there").filter_map(Result::ok) {
        let path = entry.path();
        match path.is_dir() {
            true if entry.file_name() != "target" => rust_files(&path, found),
            false if path.extension().is_some_and(|end| end == "rs") => found.push(path),
            _ => {}
        }
    }
}

#[test]
fn every_rpc_has_a_verdict_and_every_test_that_a_verdict_names_is_there() {
    let set = FileDescriptorSet::decode(strongroom_proto::DESCRIPTORS).expect("our own descriptors");
    let services = set.file.iter().flat_map(|file| file.service.iter().map(|service| (file.package(), service)));
    let methods = services.flat_map(|(package, service)| {
        service.method.iter().map(move |method| format!("/{package}.{}/{}", service.name(), method.name()))
    });
    let paths: Vec<String> = methods.collect();
    assert!(20 <= paths.len(), "{paths:?}");
    let unknown: Vec<_> = paths.iter().filter(|path| of_rpc(path).is_none()).collect();
    assert!(unknown.is_empty(), "nobody has said what these can do to what is kept: {unknown:?}");
    let mut named = BTreeSet::new();
    for path in &paths {
        if let Some(Elsewhere(tests)) = of_rpc(path) {
            named.extend(tests.iter().copied());
        }
    }
    let (mut files, root) = (Vec::new(), Path::new(env!("CARGO_MANIFEST_DIR")));
    rust_files(root, &mut files);
    let text: String = files.iter().filter_map(|file| fs::read_to_string(file).ok()).collect();
    let missing: Vec<_> = named.iter().filter(|test| !text.contains(&format!("fn {test}("))).collect();
    assert!(missing.is_empty(), "these tests are not there: {missing:?}");
}
