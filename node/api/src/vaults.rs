//! The tenant plane: who, what, do, answer.
//!
//! Not here: who calls (`callers.rs`), translation (`wire.rs`), the work (`node/service`).

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::BoxStream;
use futures_util::{Stream, StreamExt, TryStreamExt};
use strongroom_core::query::VaultRef;
use strongroom_format::id::{
    ChunkId, DekId, DomainId, GroupId, SnapshotId, TenantId, TicketId, TreeId, VaultId, VaultName,
};
use strongroom_proto::v1 as pb;
use strongroom_proto::v1::upload_request::What;
use strongroom_proto::v1::vaults_server::Vaults;
use strongroom_service::caller::Caller;
use strongroom_service::catalog::{Catalog, snapshot_ref, vault_ref};
use strongroom_service::propose::Proposer;
use strongroom_service::rates::Rates;
use strongroom_service::receipts::{Receipts, Signers};
use strongroom_service::restore::{Fetched, Restores, Run};
use strongroom_service::route::Route;
use strongroom_service::status::Statuses;
use strongroom_service::topology::InForce;
use strongroom_service::upload::{Reply, Step, Upload, Uploads};
use strongroom_service::usage::Usages;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tonic::{Request, Response, Status, Streaming};

use crate::answers;
use crate::callers::{Callers, Claim};
use crate::driven::{Driven, Out};
use crate::enrol::{self, EnrolmentDoor};
use crate::{metrics, ticket_wire, too_long, usage, wire};

/// An entry may take so long, elections included; then its outcome is unknown. Clients wait a little longer.
const SUBMIT_WITHIN: Duration = Duration::from_secs(12);
/// The first message of an upload must come within this.
const FIRST_MESSAGE_WITHIN: Duration = Duration::from_secs(10);
/// Answers that wait to be written.
const REPLIES_AHEAD: usize = 16;
/// Blobs that wait to be written.
const BLOBS_AHEAD: usize = 4;
/// The call whose answers are payloads.
pub(crate) const FETCH_RUN: &str = "/strongroom.v1.Vaults/FetchRun";
/// The call whose questions are payloads.
pub(crate) const UPLOAD: &str = "/strongroom.v1.Vaults/Upload";

/// What goes back on an upload.
type Replies = BoxStream<'static, Result<pb::UploadReply, Status>>;

/// What the tenant plane stands on.
#[derive(Clone)]
pub struct VaultsPlane {
    /// Who calls.
    pub callers: Callers,
    /// Where everything is.
    pub topology: InForce,
    /// Who leads.
    pub route: Route,
    /// Into logs.
    pub proposer: Proposer,
    /// Backups.
    pub uploads: Uploads,
    /// Restores.
    pub restores: Restores,
    /// Look-ups.
    pub catalog: Catalog,
    /// Receipts.
    pub receipts: Receipts,
    /// How things are.
    pub statuses: Statuses,
    /// How much there is.
    pub usages: Usages,
    /// How fast it may come.
    pub rates: Rates,
    /// Where strangers go, if this node lets them in.
    pub door: Option<EnrolmentDoor>,
}

#[tonic::async_trait]
impl Vaults for VaultsPlane {
    type UploadStream = Replies;
    type FetchRunStream = BoxStream<'static, Result<pb::FetchRunReply, Status>>;

    async fn topology(&self, request: Request<pb::TopologyRequest>) -> Result<Response<pb::TopologyReply>, Status> {
        let caller = self.callers.identify(&request, "/strongroom.v1.Vaults/Topology").await?;
        let tenant = self.catalog.tenant(&caller).map_err(answers::status)?;
        let leader = |group| self.route.leader(group).map(|node| node.to_string()).unwrap_or_default();
        let door = enrol::door(self.door.as_ref());
        Ok(Response::new(pb::TopologyReply { door, ..wire::topology(&self.topology.now(), &tenant, leader) }))
    }

    async fn submit(&self, request: Request<pb::SubmitRequest>) -> Result<Response<pb::SubmitReply>, Status> {
        let claim = self.callers.claim(&request, "/strongroom.v1.Vaults/Submit")?;
        let pb::SubmitRequest { group, commands } = request.into_inner();
        let entry = wire::entry(wire::commands(&claim, GroupId(group), &commands)?)?;
        let caller = self.callers.stand(&claim).await?;
        self.lives_in(&caller, GroupId(group))?;
        let applied = self.proposer.submit(GroupId(group), entry, SUBMIT_WITHIN).await.map_err(answers::status)?;
        Ok(Response::new(pb::SubmitReply { outcomes: wire::outcomes(&applied.outcomes) }))
    }

    async fn upload(
        &self,
        request: Request<Streaming<pb::UploadRequest>>,
    ) -> Result<Response<Self::UploadStream>, Status> {
        self.take_upload(request).await
    }

    async fn which(&self, request: Request<pb::WhichRequest>) -> Result<Response<pb::WhichReply>, Status> {
        let caller = self.callers.identify(&request, "/strongroom.v1.Vaults/Which").await?;
        let request = request.into_inner();
        let vault = wire::id("vault", &request.vault, VaultId::from_slice)?;
        let domain = wire::id("domain", &request.domain, DomainId::from_slice)?;
        let chunks = wire::ids("chunks", &request.chunks, wire::IDS_MAX, ChunkId::from_slice)?;
        let nodes = wire::ids("nodes", &request.nodes, wire::IDS_MAX, TreeId::from_slice)?;
        let which = self.catalog.which(&caller, GroupId(request.group), vault, domain, (chunks, nodes)).await;
        Ok(Response::new(wire::which(which.map_err(answers::status)?)))
    }

    async fn list_vaults(
        &self,
        request: Request<pb::ListVaultsRequest>,
    ) -> Result<Response<pb::ListVaultsReply>, Status> {
        let caller = self.callers.identify(&request, "/strongroom.v1.Vaults/ListVaults").await?;
        let vaults = self.catalog.vaults(&caller).await.map_err(answers::status)?;
        Ok(Response::new(pb::ListVaultsReply { vaults: vaults.into_iter().map(wire::vault).collect() }))
    }

    async fn get_vault(&self, request: Request<pb::GetVaultRequest>) -> Result<Response<pb::GetVaultReply>, Status> {
        let caller = self.callers.identify(&request, "/strongroom.v1.Vaults/GetVault").await?;
        let named = named_vault(request.get_ref())?;
        let (vault, cards) = self.catalog.vault(&caller, named).await.map_err(answers::status)?;
        let cards = cards.into_iter().map(Bytes::from).collect();
        Ok(Response::new(pb::GetVaultReply { vault: Some(wire::vault(vault)), cards }))
    }

    async fn list_snapshots(
        &self,
        request: Request<pb::ListSnapshotsRequest>,
    ) -> Result<Response<pb::ListSnapshotsReply>, Status> {
        let caller = self.callers.identify(&request, "/strongroom.v1.Vaults/ListSnapshots").await?;
        let wanted = wire::snapshots_wanted(caller.tenant, request.get_ref())?;
        let vault = wanted.vault;
        let page = self.catalog.snapshots(&caller, wanted).await.map_err(answers::status)?;
        let next_page = page.next.map(|place| wire::page(caller.tenant, vault, place)).unwrap_or_default();
        let snapshots = page.snapshots.iter().map(wire::snapshot).collect();
        Ok(Response::new(pb::ListSnapshotsReply { snapshots, next_page }))
    }

    async fn get_snapshot(
        &self,
        request: Request<pb::GetSnapshotRequest>,
    ) -> Result<Response<pb::GetSnapshotReply>, Status> {
        let caller = self.callers.identify(&request, "/strongroom.v1.Vaults/GetSnapshot").await?;
        let pb::GetSnapshotRequest { id, prefix, vault } = request.into_inner();
        let id = wire::optional_id("id", &id, SnapshotId::from_slice)?;
        let vault = wire::optional_id("vault", &vault, VaultId::from_slice)?;
        let named = snapshot_ref(id, prefix).ok_or_else(|| answers::invalid("either an id or a prefix"))?;
        let snapshot = self.catalog.snapshot(&caller, named, vault).await.map_err(answers::status)?;
        Ok(Response::new(wire::snapshot_reply(snapshot)))
    }

    async fn get_wraps(&self, request: Request<pb::GetWrapsRequest>) -> Result<Response<pb::GetWrapsReply>, Status> {
        let caller = self.callers.identify(&request, "/strongroom.v1.Vaults/GetWraps").await?;
        let request = request.into_inner();
        let vault = wire::id("vault", &request.vault, VaultId::from_slice)?;
        let domain = wire::id("domain", &request.domain, DomainId::from_slice)?;
        let deks = wire::ids("deks", &request.deks, 256, DekId::from_slice)?;
        let wraps = self.catalog.wraps(&caller, vault, domain, deks).await.map_err(answers::status)?;
        Ok(Response::new(pb::GetWrapsReply { wraps: wraps.into_iter().map(Bytes::from).collect() }))
    }

    async fn get_nodes(&self, request: Request<pb::GetNodesRequest>) -> Result<Response<pb::GetNodesReply>, Status> {
        let caller = self.callers.identify(&request, "/strongroom.v1.Vaults/GetNodes").await?;
        let wanted = wire::nodes_wanted(request.get_ref())?;
        let nodes = self.restores.nodes(&caller, wanted).await.map_err(answers::status)?;
        let nodes = nodes.into_iter().map(|node| node.map(Bytes::from).unwrap_or_default()).collect();
        Ok(Response::new(pb::GetNodesReply { nodes }))
    }

    async fn fetch_run(&self, request: Request<pb::FetchRunRequest>) -> Result<Response<Self::FetchRunStream>, Status> {
        let began = Instant::now();
        let claim = self.callers.claim(&request, FETCH_RUN)?;
        let wanted = wire::run_wanted(request.into_inner())?;
        let caller = self.callers.stand(&claim).await?;
        let group = wanted.group;
        let run = self.restores.run(&caller, wanted).await.map_err(answers::status)?;
        let (callers, restores) = (self.callers.clone(), self.restores.clone());
        let blobs = Driven::new(BLOBS_AHEAD, move |out| async move {
            tokio::select! {
                biased;
                refused = callers.until_refused(claim) => Err(refused),
                ended = send(&restores, &run, began, out) => ended,
            }
        });
        // Counted when they leave: what waits here goes nowhere if the caller does.
        Ok(Response::new(blobs.inspect(move |reply| sent_back(group, reply)).boxed()))
    }

    async fn get_receipt(
        &self,
        request: Request<pb::GetReceiptRequest>,
    ) -> Result<Response<pb::GetReceiptReply>, Status> {
        let caller = self.callers.identify(&request, "/strongroom.v1.Vaults/GetReceipt").await?;
        let snapshot = wire::id("snapshot", &request.get_ref().snapshot, SnapshotId::from_slice)?;
        let receipt = self.receipts.receipt(&caller, snapshot, request.get_ref().old_size).await;
        Ok(Response::new(wire::receipt(&receipt.map_err(answers::status)?)))
    }

    async fn get_ticket(&self, request: Request<pb::GetTicketRequest>) -> Result<Response<pb::GetTicketReply>, Status> {
        let caller = self.callers.identify(&request, "/strongroom.v1.Vaults/GetTicket").await?;
        let ticket = wire::id("ticket", &request.get_ref().ticket, TicketId::from_slice)?;
        let view = self.catalog.ticket(&caller, ticket).await.map_err(answers::status)?;
        Ok(Response::new(ticket_wire::ticket(view)))
    }

    async fn get_checkpoint(
        &self,
        request: Request<pb::GetCheckpointRequest>,
    ) -> Result<Response<pb::GetCheckpointReply>, Status> {
        let caller = self.callers.identify(&request, "/strongroom.v1.Vaults/GetCheckpoint").await?;
        let pb::GetCheckpointRequest { old_size, size, all_voters } = request.into_inner();
        let signers = if all_voters { Signers::All } else { Signers::Majority };
        let proved = self.receipts.checkpoint(&caller, old_size, (size != 0).then_some(size), signers).await;
        Ok(Response::new(wire::checkpoint(&proved.map_err(answers::status)?)))
    }

    async fn list_audit(&self, request: Request<pb::ListAuditRequest>) -> Result<Response<pb::ListAuditReply>, Status> {
        let caller = self.callers.identify(&request, "/strongroom.v1.Vaults/ListAudit").await?;
        let pb::ListAuditRequest { from, limit, size } = request.into_inner();
        let page = self.receipts.leaves(&caller, from, wire::limit(limit), size).await.map_err(answers::status)?;
        Ok(Response::new(wire::leaves(page)))
    }

    async fn list_identities(
        &self,
        request: Request<pb::ListIdentitiesRequest>,
    ) -> Result<Response<pb::ListIdentitiesReply>, Status> {
        let caller = self.callers.identify(&request, "/strongroom.v1.Vaults/ListIdentities").await?;
        let pb::ListIdentitiesRequest { after, limit } = request.into_inner();
        let after = wire::optional_name(&after)?;
        let identities = self.receipts.identities(&caller, after, wire::limit(limit)).await.map_err(answers::status)?;
        Ok(Response::new(pb::ListIdentitiesReply { identities: identities.into_iter().map(wire::identity).collect() }))
    }

    async fn get_lock(&self, request: Request<pb::GetLockRequest>) -> Result<Response<pb::GetLockReply>, Status> {
        let caller = self.callers.identify(&request, "/strongroom.v1.Vaults/GetLock").await?;
        let snapshot = wire::id("snapshot", &request.get_ref().snapshot, SnapshotId::from_slice)?;
        let lock = self.catalog.lock(&caller, snapshot).await.map_err(answers::status)?;
        Ok(Response::new(pb::GetLockReply { lock: wire::plain(&lock) }))
    }

    async fn get_policy(&self, request: Request<pb::GetPolicyRequest>) -> Result<Response<pb::GetPolicyReply>, Status> {
        let caller = self.callers.identify(&request, "/strongroom.v1.Vaults/GetPolicy").await?;
        let vault = wire::id("vault", &request.get_ref().vault, VaultId::from_slice)?;
        let policy = self.catalog.policy(&caller, vault).await.map_err(answers::status)?;
        Ok(Response::new(pb::GetPolicyReply { policy: wire::plain(&policy) }))
    }

    async fn preview_policy(
        &self,
        request: Request<pb::PreviewPolicyRequest>,
    ) -> Result<Response<pb::PreviewPolicyReply>, Status> {
        let caller = self.callers.identify(&request, "/strongroom.v1.Vaults/PreviewPolicy").await?;
        let pb::PreviewPolicyRequest { vault, policy, after, limit } = request.into_inner();
        let vault = wire::id("vault", &vault, VaultId::from_slice)?;
        let policy = wire::read_plain("policy", &policy)?;
        let after = if after.is_empty() { None } else { Some(wire::read_plain("after", &after)?) };
        let page = self.catalog.preview(&caller, vault, policy, after, wire::limit(limit)).await;
        Ok(Response::new(pb::PreviewPolicyReply { page: wire::plain(&page.map_err(answers::status)?) }))
    }

    async fn status(&self, request: Request<pb::StatusRequest>) -> Result<Response<pb::StatusReply>, Status> {
        let caller = self.callers.identify(&request, "/strongroom.v1.Vaults/Status").await?;
        let status = self.statuses.of_tenant(caller.tenant).await;
        Ok(Response::new(wire::status(self.topology.now().cluster.to_string(), status)))
    }

    async fn usage(&self, request: Request<pb::UsageRequest>) -> Result<Response<pb::UsageReply>, Status> {
        let caller = self.callers.identify(&request, "/strongroom.v1.Vaults/Usage").await?;
        let charges = self.usages.of(&caller).await.map_err(answers::status)?;
        Ok(Response::new(usage::reply(charges)))
    }
}

impl VaultsPlane {
    /// Carries an upload, whoever reads its messages.
    pub(crate) async fn take_upload(
        &self,
        request: Request<impl Stream<Item = Result<pb::UploadRequest, Status>> + Send + Unpin + 'static>,
    ) -> Result<Response<Replies>, Status> {
        let claim = self.callers.claim(&request, UPLOAD)?;
        let mut messages = request.into_inner();
        let first = tokio::time::timeout(FIRST_MESSAGE_WITHIN, messages.try_next()).await;
        let first = first.map_err(|_| Status::deadline_exceeded("the upload was not opened in time"))?;
        let open = wire::upload_open(first.map_err(too_long::status)?)?;
        let caller = self.callers.stand(&claim).await?;
        let group = open.group;
        let facts = self.catalog.tenant(&caller).map_err(answers::status)?;
        let upload = self.uploads.open(caller, open).await.map_err(answers::status)?;
        let callers = self.callers.clone();
        let pace = Pace { tenant: facts.tenant, topology: self.topology.clone(), rates: self.rates.clone() };
        let replies = Driven::new(REPLIES_AHEAD, move |out| async move {
            tokio::select! {
                biased;
                refused = callers.until_refused(claim.clone()) => Err(refused),
                ended = carry(&upload, &claim, group, &pace, messages, out) => ended,
            }
        });
        Ok(Response::new(replies.map(|reply| reply.map(wire::upload_reply)).boxed()))
    }

    /// A shard in which the caller's tenant does not live does not exist for it.
    fn lives_in(&self, caller: &Caller, group: GroupId) -> Result<(), Status> {
        let tenant = self.catalog.tenant(caller).map_err(answers::status)?;
        if tenant.home == group || tenant.groups.contains(&group) {
            return Ok(());
        }
        Err(answers::status(answers::refusal(&strongroom_format::outcome::Refusal::NotFound)))
    }
}

fn named_vault(request: &pb::GetVaultRequest) -> Result<VaultRef, Status> {
    let id = wire::optional_id("id", &request.id, VaultId::from_slice)?;
    let name = match request.name.as_str() {
        "" => None,
        name => Some(name.parse::<VaultName>().map_err(|fault| answers::invalid(fault.to_string()))?),
    };
    vault_ref(id, name).ok_or_else(|| answers::invalid("either an id or a name"))
}

/// Moves an upload's messages to their end. What does not read ends the stream, after what was before it is answered.
async fn carry(
    upload: &Upload,
    claim: &Claim,
    group: GroupId,
    pace: &Pace,
    messages: impl Stream<Item = Result<pb::UploadRequest, Status>> + Send + Unpin,
    out: Out<Reply>,
) -> Result<(), Status> {
    let fault = Mutex::new(None);
    let kept = &fault;
    let steps = messages.scan((), |(), message| async move {
        let step = match message.map_err(too_long::status).and_then(|message| step(claim, group, message)) {
            Ok(step) => pace.keep(blob_bytes(&step)).await.map(|()| step),
            Err(status) => Err(status),
        };
        step.map_err(|status| *kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(status)).ok()
    });
    let (sender, mut replies) = mpsc::channel(1);
    let work = async {
        let sender = sender;
        upload.run(Box::pin(steps), &sender).await
    };
    let forward = async {
        while let Some(reply) = replies.recv().await {
            if out.send(reply).await.is_err() {
                replies.close();
                return;
            }
        }
    };
    let (ended, ()) = futures_util::future::join(work, forward).await;
    ended.map_err(answers::status)?;
    fault.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
}

/// How fast a tenant's uploads may go here.
struct Pace {
    tenant: TenantId,
    topology: InForce,
    rates: Rates,
}

impl Pace {
    /// Holds a blob of so many bytes up until there is room for it in the tenant's bucket: so its sender waits. Looked up each time: an
    /// operator may have said otherwise since.
    async fn keep(&self, bytes: u64) -> Result<(), Status> {
        if bytes == 0 {
            return Ok(());
        }
        let facts = self.topology.tenant(self.tenant);
        let Some(rate) = facts.and_then(|facts| facts.limited.limits.upload_bytes_per_second) else { return Ok(()) };
        let wait = self.rates.take(self.tenant, bytes, rate, Instant::now());
        let wait = wait.map_err(answers::too_fast)?;
        if !wait.is_zero() {
            metrics::held_up(wait);
            tokio::time::sleep(wait).await;
        }
        Ok(())
    }
}

/// Bytes of the blob that a step brings.
fn blob_bytes(step: &Step) -> u64 {
    match step {
        Step::Blob { blob, .. } => blob.len() as u64,
        Step::Submit(_) => 0,
    }
}

fn step(claim: &Claim, group: GroupId, message: pb::UploadRequest) -> Result<Step, Status> {
    match message.what {
        Some(What::Blob(pb::UploadBlob { blob_id, blob })) => {
            metrics::ingested(blob.len());
            Ok(Step::Blob { declared: wire::declared(&blob_id)?, blob })
        }
        Some(What::Submit(submit)) => Ok(Step::Submit(wire::submit(claim, group, &submit)?)),
        Some(What::Open(_)) | None => Err(answers::invalid("an upload is opened once")),
    }
}

/// Counts what leaves.
fn sent_back(group: GroupId, reply: &Result<pb::FetchRunReply, Status>) {
    use pb::fetch_run_reply::What;
    match reply {
        Ok(pb::FetchRunReply { what: Some(What::Blob(sent)) }) => metrics::sent_back(group.0, sent.blob.len()),
        Ok(pb::FetchRunReply { what: Some(What::Fragment(sent)) }) => metrics::sent_back(group.0, sent.payload.len()),
        Ok(pb::FetchRunReply { what: Some(What::Lost(_) | What::Stats(_)) | None }) | Err(_) => {}
    }
}

/// Sends a run: its blobs as they are ready, then what was met on the way.
async fn send(restores: &Restores, run: &Run, began: Instant, out: Out<pb::FetchRunReply>) -> Result<(), Status> {
    let (sender, mut fetched) = mpsc::channel::<Fetched>(BLOBS_AHEAD);
    let work = async move {
        let stats = restores.send(run, &sender).await;
        drop(sender);
        stats
    };
    let forward = async {
        let mut first = true;
        while let Some(one) = fetched.recv().await {
            match &one.piece {
                Ok(_) => {}
                Err(missing) if missing.away => {}
                Err(_) => metrics::verification_failed(metrics::Check::Lost),
            }
            if std::mem::take(&mut first) {
                metrics::first_byte(began.elapsed().as_secs_f64());
            }
            if out.send(wire::fetched(one)).await.is_err() {
                fetched.close();
                return;
            }
        }
    };
    let (stats, ()) = futures_util::future::join(work, forward).await;
    let stats = stats.map_err(answers::status)?;
    metrics::restored(began.elapsed().as_secs_f64());
    // Nobody may be left to read it.
    let _ = out.send(wire::fetch_stats(stats)).await;
    Ok(())
}
