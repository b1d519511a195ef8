//! A hostile node: it holds its own key and certificate and proposes whatever it likes, past its own software. What it says
//! for other groups is refused, and no honest voter signs what is not so.
//!
//! Not here: the rules that refuse it (`node/core/tests/it/claims.rs`).

use bytes::Bytes;
use strongroom::keyring::read_key;
use strongroom_core::claims::{Claim, Claims, Statement};
use strongroom_core::electorates::Electorate;
use strongroom_core::entry::{Decided, EntryCommand, NodeCommand, Replaced, Standing, TenantState};
use strongroom_core::locking::Keeping;
use strongroom_core::query::{Answer, Query};
use strongroom_core::shard::rows::PartState;
use strongroom_format::codec;
use strongroom_format::command::{Attested, Body, MemberSignature, Opened};
use strongroom_format::id::{GroupId, ReplicaId, SnapshotId};
use strongroom_format::outcome::{Outcome, Refusal};
use strongroom_format::sign::SigningKey;
use strongroom_proto::v1::sign_claims_reply::How;

use crate::cluster::Cluster;
use crate::forge::Forge;
use crate::inside::Inside;
use crate::shared::shared;
use crate::speaker::random;

/// The first node's own key.
fn own_key(cluster: &Cluster) -> SigningKey {
    read_key(&cluster.nodes[0].data_dir.join("identity/signing.key")).expect("the node's signing key")
}

/// What the hostile node can put under a claim: nothing, its own signature, its own for all voters.
async fn forged(inside: &Inside, key: &SigningKey, to: GroupId, claim: &Claim) -> Vec<Vec<MemberSignature>> {
    let by = claim.by();
    let Answer::Electorate(electorate) = inside.ask(to, &Query::Electorate { of: by }).await else {
        panic!("group {to} knows the voters of {by}")
    };
    let Electorate { epoch, voters, .. } = electorate;
    let signature = Statement { epoch, by, claim: claim.clone() }.sign(key);
    let own: Vec<ReplicaId> =
        voters.keys.iter().filter(|(_, voter)| **voter == key.public_key()).map(|(replica, _)| *replica).collect();
    let under = |replica: ReplicaId| MemberSignature { replica, signature };
    let all: Vec<MemberSignature> = voters.keys.keys().copied().map(under).collect();
    vec![Vec::new(), own.into_iter().map(under).collect(), all]
}

/// No voter signs it, whoever asks.
async fn nobody_signs(inside: &Inside, claim: &Claim) {
    let claims = Bytes::from(codec::encode(&Claims { claims: vec![claim.clone()] }));
    for how in inside.sign_claims(claim.by(), claims).await {
        match how {
            How::Signatures(signatures) => assert!(signatures.signatures.iter().all(Bytes::is_empty), "{claim:?}"),
            How::NotYet(_) => {}
        }
    }
}

async fn refused(inside: &Inside, group: GroupId, command: EntryCommand) {
    let outcomes = inside.propose(group, vec![command.clone()]).await;
    assert_eq!(outcomes, [Outcome::Refused(Refusal::Unattested)], "{command:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn n34_n109_a_hostile_node_speaks_for_no_other_group() {
    let cluster = shared();
    let (inside, key) = (Inside::of(cluster).await, own_key(cluster));
    let mut forge = Forge::prepare(cluster, "acme", "writer", "papers").await;
    let opened = forge.open_snapshot().await.expect("a snapshot opens");
    let tenant = opened.tenant;
    let (home, snapshot) = (opened.home, opened.snapshot);
    let other = *opened.groups.iter().find(|group| **group != home).expect("acme lives in three shards");

    // That the home shard aborted, or committed, what it did not.
    let keeping = Keeping { version: 0, terms: None, until_unix_ms: 0, left_ms: 0, holds: Vec::new() };
    for kept in [None, Some(keeping)] {
        let decided = Decided { home, tenant, snapshot, kept };
        nobody_signs(&inside, &decided.clone().into()).await;
        for signatures in forged(&inside, &key, other, &decided.clone().into()).await {
            let said = Attested { value: decided.clone(), signatures };
            refused(&inside, other, EntryCommand::Node(NodeCommand::DecidePart(said))).await;
        }
    }
    let Answer::Part(part) = inside.ask(other, &Query::Part { tenant, snapshot }).await else { panic!("no part") };
    assert_eq!(part.state, PartState::Open, "it was neither dropped nor committed");

    // That it opened a snapshot of a writer who conspires, in another writer's domain.
    let speaker = forge.talk.speaker.clone();
    let of_nobody = Opened { snapshot: SnapshotId::from_bytes(random()), ..opened };
    nobody_signs(&inside, &of_nobody.clone().into()).await;
    let body = Body::JoinSnapshot { opened: Attested { value: of_nobody.clone(), signatures: Vec::new() } };
    let join = speaker.signed(&speaker.outside(other, body));
    for signatures in forged(&inside, &key, other, &of_nobody.clone().into()).await {
        let command = EntryCommand::Attested { command: join.clone(), signatures: vec![signatures] };
        refused(&inside, other, command).await;
    }
    let vouched = inside.propose(other, vec![EntryCommand::Vouched(join)]).await;
    assert_eq!(vouched, [Outcome::Refused(Refusal::NotFound)], "a node's word is none");

    // That the cluster group ended the tenant, or lets another member in.
    let Answer::Tenant(view) = inside.ask(other, &Query::Tenant { tenant }).await else { panic!("no tenant") };
    let mut ended = view.facts;
    ended.standing =
        Standing { version: ended.standing.version + 1, state: TenantState::Ended, ..ended.standing.clone() };
    nobody_signs(&inside, &ended.clone().into()).await;
    for signatures in forged(&inside, &key, other, &ended.clone().into()).await {
        let said = Attested { value: ended.clone(), signatures };
        refused(&inside, other, EntryCommand::Node(NodeCommand::AdmitTenant(said))).await;
    }
    let Answer::Shard(facts) = inside.ask(other, &Query::Shard).await else { panic!("no shard") };
    let (slot, from) = (facts.members[1].slot, facts.members[1].replica);
    let replaced = Replaced { group: other, slot, from, to: ReplicaId(from.0 + 256) };
    nobody_signs(&inside, &replaced.clone().into()).await;
    for signatures in forged(&inside, &key, other, &replaced.clone().into()).await {
        let said = Attested { value: replaced.clone(), signatures };
        refused(&inside, other, EntryCommand::Node(NodeCommand::ReplaceMember(said))).await;
    }
    // What it does not decide goes on.
    assert!(matches!(inside.ask(other, &Query::Tenant { tenant }).await, Answer::Tenant(view) if view.active));
}
