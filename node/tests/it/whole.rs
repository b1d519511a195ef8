//! All that a run's nodes have said, searched for what must not be in it (N94): names of tenants, keys, tokens, in logs
//! and metrics, panics included.
//!
//! The test below has the last name, so that it begins when nearly all others have ended, and searches what they made the
//! shared cluster say; first it does what others may not have done. Clusters of one's own are searched when they end
//! (`cluster.rs`). Not here: contents and names from inside of snapshots (`canaries.rs`).

use strongroom::enrol::{self, Person as Someone, TlsKey};
use strongroom::identities::NewIdentity;
use strongroom_format::enrolment::Token;
use strongroom_format::role::Role;
use strongroom_format::seal::Kind;
use strongroom_format::sign::SigningKey;
use strongroom_proto::v1 as pb;
use strongroom_proto::v1::upload_request::What as Ask;

use crate::bearer::{Authority, Bearer, Door, Verdict, knock};
use crate::cluster::{PATIENCE, metrics, until};
use crate::forge::{Forge, upload};
use crate::secrets::{nothing_secret, secret_in, secrets_in};
use crate::shared::{back_up, create_vault, restore, shared};
use crate::speaker::{No, Speaker, no, random};
use crate::tenant::own_tenant;
use crate::trees;

#[tokio::test(flavor = "multi_thread")]
async fn n94_no_tenants_name_key_or_token_is_in_what_the_nodes_have_said() {
    const CANARY: &str = "canary-94";
    let cluster = shared();
    own_tenant(cluster, CANARY).await;
    create_vault(cluster, CANARY, "papers").await;
    let source = cluster.scratch();
    trees::plant(&source, CANARY);
    let writer = cluster.client(&format!("{CANARY}-writer")).await;
    let backup = back_up(&writer, &source, "papers", "n94").await;
    let to = cluster.scratch().join("restored");
    restore(&cluster.client(&format!("{CANARY}-restorer")).await, backup.snapshot, &to).await;

    // Somebody new: a token, used well, used again by another, and one that was never issued.
    let admin = cluster.client(&format!("{CANARY}-admin")).await;
    let id = "n94-new";
    let new = NewIdentity {
        id: id.parse().expect("a name"),
        roles: vec![Role::Writer],
        locks: None,
        lifetime: std::time::Duration::from_secs(600),
    };
    let text = admin.issue_token(new).await.expect("an admin issues tokens");
    let token = Token::parse(&text).expect("a token");
    let person = Someone { tenant: CANARY.parse().expect("a name"), identity: id.parse().expect("a name") };
    let mut keys = Vec::new();
    for expected in [Ok(()), Err(no("UNAUTHENTICATED", "TOKEN_USED"))] {
        let signing = SigningKey::from_secret(random()).expect("a good key");
        let tls = TlsKey::generate().expect("a key can be made");
        let enrolled = enrol::enrol(&token, &signing, &tls, &person, PATIENCE).await;
        assert_eq!(enrolled.map(drop).map_err(No::from), expected);
        keys.push(("a new signing key".to_owned(), hex::encode(signing.expose()).into_bytes()));
        keys.extend(secret_in(&tls.to_pem()).map(|secret| ("a new TLS key".to_owned(), secret)));
    }
    // Refusals of all kinds: in the handshake, at the door, by the rules, in a stream.
    let uri = format!("spiffe://{}/tenant/{CANARY}/id/writer/role/writer", cluster.name);
    let bearers = [Authority::of_tenant(cluster, "acme").issue(&uri), Authority::unknown().issue(&uri)];
    for bearer in &bearers {
        let verdict = knock(cluster, &cluster.nodes[0], Door::Tenant, Some(bearer)).await;
        assert!(matches!(verdict, Verdict::Out(_)), "{verdict:?}");
    }
    let speaker = Speaker::founder(cluster, CANARY, "writer").await;
    let listed = speaker.vaults.clone().list_audit(pb::ListAuditRequest::default()).await.map(drop);
    assert_eq!(listed.map_err(No::from), Err(no("PERMISSION_DENIED", "ROLE")));
    let mut forge = Forge::open(cluster, CANARY, "writer", "papers").await;
    let blob = forge.seal(Kind::Data, CANARY.as_bytes());
    let open = forge.upload_open(forge.talk.group);
    let other = pb::UploadBlob { blob_id: vec![1; 32].into(), blob: blob.bytes.into() };
    let refused = upload(&speaker, vec![Ask::Open(open), Ask::Blob(other)]).await.map(drop).map_err(No::from);
    assert_eq!(refused, Err(no("INVALID_ARGUMENT", "HASH_MISMATCH")));
    let absent = writer.vault(&"absent".parse().expect("a name")).await.expect_err("there is none");
    assert_eq!(absent.reason(), Some("NOT_FOUND"));

    let mut secrets = secrets_in(&cluster.directory());
    assert!(secrets.iter().any(|(_, secret)| secret == CANARY.as_bytes()), "what is searched for is known");
    assert!(secrets.iter().filter(|(what, _)| what.contains(CANARY)).count() > 5, "its keys too: {}", secrets.len());
    secrets.extend(keys);
    let bare = text.strip_prefix(Token::PREFIX).expect("a token's text");
    secrets.push(("a token".into(), bare.as_bytes()[bare.len() - 40..].to_vec()));
    let presented = Bearer::read(&cluster.directory().join("tenants").join(CANARY), "writer").into_pem().1;
    secrets.extend(secret_in(&presented).map(|secret| ("a presented key".to_owned(), secret)));
    until(|| cluster.log().contains("handshakes refused"), || "the nodes log what happens".into());
    let log = cluster.log();
    nothing_secret(&secrets, log.as_bytes());
    assert!(!log.contains("panicked at"), "a node has panicked");
    assert!(0.0 < cluster.metric("strongroom_api_refusals_total", ""), "refusals are counted");
    for node in &cluster.nodes {
        let metrics = metrics(node);
        nothing_secret(&secrets, metrics.as_bytes());
    }
}
