//! An identity of one tenant, connected to the cluster of its profile. All that the SDK does starts here.
//!
//! Not here: what can be done (`backup.rs`, `restore.rs`, `vaults.rs`, `snapshots.rs`, `status.rs`, `tenants.rs`).

use std::future::Future;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use strongroom_format::codec;
use strongroom_format::command::{Command, SignedCommand};
use strongroom_format::id::{ClusterEpoch, GroupId, IdentityId, TenantId};
use strongroom_format::outcome::Outcome;
use strongroom_format::role::Role;
use strongroom_format::sign::SigningKey;
use strongroom_proto::v1 as pb;
use strongroom_proto::v1::vaults_client::VaultsClient;
use strongroom_proto_identity::spiffe::SpiffeId;
use tonic::transport::Channel;
use tonic::{Response, Status};

use crate::connect::{Deadline, Effect, Nodes};
use crate::error::{Error, Result};
use crate::farewells::Farewells;
use crate::kept::Keep;
use crate::profile::Profile;
use crate::state::State;
use crate::topology::Topology;
use crate::{connect, keyring};

/// How long the SDK waits for nodes before it gives up, unless told otherwise: elections and a node's restart pass
/// within it.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// An identity of one tenant, connected to a cluster. Cheap to clone.
///
/// Connecting dials a node and checks who it is and who it says the tenant is. Other nodes are dialled when needed.
///
/// A client that stays open keeps a session in the cluster from one small backup to the next, for a minute: the next one is
/// committed in one Raft round. [`Client::close`] ends it; without that it ends by itself within the hour, and until then it
/// counts among the writer's open sessions.
#[derive(Clone)]
pub struct Client(pub(crate) Arc<Inner>);

/// What all clones share.
pub(crate) struct Inner {
    pub profile: Profile,
    pub identity: IdentityId,
    pub role: Role,
    pub signing: SigningKey,
    pub state: State,
    pub nodes: Nodes,
    pub keep: Keep,
    pub farewells: Farewells,
    patience: Duration,
    topology: RwLock<Arc<Topology>>,
}

impl Client {
    /// Connects with the identity of a profile. `patience` is how long each step waits for nodes that do not answer
    /// (elections included) before it fails; see [`PATIENCE`].
    ///
    /// # Errors
    /// `Refused` if the profile's files are unusable, the node is no node of the cluster, or the tenant it names is
    /// not the pinned one; `Unavailable` if nobody answers in time.
    pub async fn connect(profile: Profile, patience: Duration) -> Result<Self> {
        let credentials = connect::credentials(&profile)?;
        let SpiffeId::Tenant { tenant, identity, role, .. } = &credentials.leaf().id else {
            return Err(Error::refused(
                "FAILED_PRECONDITION",
                "PROFILE",
                "the certificate is not that of a tenant's identity",
                "use a profile of the tenant",
            ));
        };
        let pinned = profile.tenant()?;
        if *tenant != pinned.name.0 {
            return Err(Error::refused(
                "FAILED_PRECONDITION",
                "PROFILE",
                "the certificate is of another tenant than the profile's",
                "use the tenant's own certificate",
            ));
        }
        let (identity, role) = (IdentityId(identity.clone()), *role);
        let signing = keyring::signing(&profile)?;
        let state = State::open(&pinned.state)?;
        let nodes = Nodes::of(&profile, &credentials)?;
        let topology = RwLock::new(Arc::new(ask_topology(&nodes, &profile, patience).await?));
        let (keep, farewells) = (Keep::default(), Farewells::default());
        let inner = Inner { profile, identity, role, signing, state, nodes, keep, farewells, patience, topology };
        Ok(Self(Arc::new(inner)))
    }

    /// The same for a process that does one thing and ends: no session is kept, so there is nothing to close.
    ///
    /// # Errors
    /// As [`Client::connect`].
    pub async fn connect_once(profile: Profile, patience: Duration) -> Result<Self> {
        let client = Self::connect(profile, patience).await?;
        let _nothing_yet = client.0.keep.close();
        Ok(client)
    }

    /// The tenant.
    pub fn tenant(&self) -> TenantId {
        self.topology().tenant
    }

    /// The identity.
    pub fn identity(&self) -> &IdentityId {
        &self.0.identity
    }

    /// In which of its roles.
    pub fn role(&self) -> Role {
        self.0.role
    }

    /// The epoch of the cluster.
    pub fn cluster_epoch(&self) -> ClusterEpoch {
        self.topology().cluster
    }

    /// The profile.
    pub fn profile(&self) -> &Profile {
        &self.0.profile
    }

    pub(crate) fn topology(&self) -> Arc<Topology> {
        Arc::clone(&self.0.topology.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Asks again where the tenant's shards are and who leads them.
    pub(crate) async fn refresh_topology(&self) -> Result<Arc<Topology>> {
        let topology = Arc::new(ask_topology(&self.0.nodes, &self.0.profile, self.0.patience).await?);
        let before = self.topology();
        if topology.tenant != before.tenant || topology.cluster != before.cluster {
            return Err(Error::refused(
                "FAILED_PRECONDITION",
                "CLUSTER_EPOCH",
                "the cluster began a new epoch",
                "run the command again",
            ));
        }
        *self.0.topology.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&topology);
        Ok(topology)
    }

    /// From now until patience ends.
    pub(crate) fn deadline(&self) -> Deadline {
        Deadline::after(self.0.patience)
    }

    pub(crate) fn patience(&self) -> Duration {
        self.0.patience
    }

    /// A call that only reads, at the members of a group, its leader first.
    pub(crate) async fn read<T, F>(&self, group: GroupId, call: impl Fn(VaultsClient<Channel>) -> F) -> Result<T>
    where
        F: Future<Output = std::result::Result<Response<T>, Status>>,
    {
        self.call(group, self.deadline(), Effect::None, call).await
    }

    /// A call at the members of a group, its leader first, until the deadline.
    pub(crate) async fn call<T, F>(
        &self,
        group: GroupId,
        deadline: Deadline,
        effect: Effect,
        call: impl Fn(VaultsClient<Channel>) -> F,
    ) -> Result<T>
    where
        F: Future<Output = std::result::Result<Response<T>, Status>>,
    {
        let preferred = self.topology().endpoints(group);
        let nodes = &self.0.nodes;
        nodes
            .call(&preferred, deadline, effect, |endpoint| {
                let client = nodes.vaults(&endpoint);
                let call = &call;
                async move {
                    match client {
                        Ok(client) => call(client).await,
                        Err(error) => Err(Status::unavailable(error.to_string())),
                    }
                }
            })
            .await
    }

    /// Proposes commands as one entry. The same bytes again are never executed twice: sessions number them, and what
    /// has no number carries a nonce or an id of its own. So an attempt whose outcome is unknown is simply repeated.
    pub(crate) async fn submit(
        &self,
        group: GroupId,
        commands: &[SignedCommand],
        deadline: Deadline,
    ) -> Result<Vec<Outcome>> {
        let request = pb::SubmitRequest {
            group: group.0,
            commands: commands.iter().map(|command| codec::encode(command).into()).collect(),
        };
        let reply = self
            .call(group, deadline, Effect::Changes, |mut client| {
                let request = request.clone();
                async move { client.submit(request).await }
            })
            .await?;
        let outcomes: Vec<Outcome> =
            reply.outcomes.iter().map(|bytes| codec::decode(bytes)).collect::<std::result::Result<_, _>>()?;
        if outcomes.len() != commands.len() {
            return Err(Error::Unknown { message: "the node answered another number of commands".into() });
        }
        Ok(outcomes)
    }

    /// Signs a command, or wraps it unsigned if it decides nothing.
    pub(crate) fn signed(&self, command: &Command) -> SignedCommand {
        if command.body.is_deciding() {
            strongroom_format::sign::sign_command(command, &self.0.signing)
        } else {
            strongroom_format::sign::unsigned_command(command)
        }
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("identity", &self.0.identity).finish_non_exhaustive()
    }
}

async fn ask_topology(nodes: &Nodes, profile: &Profile, patience: Duration) -> Result<Topology> {
    let reply = nodes
        .call(&[], Deadline::after(patience), Effect::None, |endpoint| {
            let client = nodes.vaults(&endpoint);
            async move {
                match client {
                    Ok(mut client) => client.topology(pb::TopologyRequest {}).await,
                    Err(error) => Err(Status::unavailable(error.to_string())),
                }
            }
        })
        .await?;
    Topology::read(reply, profile)
}
