//! The ops port: plain HTTP for whoever watches over a node, on loopback unless its settings say otherwise.
//!
//! | path | answer |
//! |---|---|
//! | `/healthz` | 200: the process lives |
//! | `/readyz` | 200: all groups of this node serve; 503 and their numbers: not yet |
//! | `/metrics` | Prometheus text |
//!
//! No names of tenants, vaults or people appear here. Not here: anything that changes something.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use metrics_exporter_prometheus::PrometheusHandle;
use strongroom_host::connections::{ByteStream, Connection, Listener};
use strongroom_service::readiness::Readiness;

/// How long the port rests when the system has no descriptors left.
const PORT_REST: Duration = Duration::from_millis(50);

/// What the ops port shows.
#[derive(Clone)]
pub struct Ops {
    /// Whether this node serves.
    pub readiness: Readiness,
    /// What was counted.
    pub metrics: PrometheusHandle,
}

/// Serves the port until `stop`.
pub async fn serve(
    listener: Box<dyn Listener>,
    ops: Ops,
    stop: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let routes = Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(|State(ops): State<Arc<Ops>>| async move { ops.metrics.render() }))
        .with_state(Arc::new(ops));
    axum::serve(Port(listener), routes).with_graceful_shutdown(stop).await
}

async fn ready(State(ops): State<Arc<Ops>>) -> (StatusCode, String) {
    let waiting = ops.readiness.not_serving();
    if waiting.is_empty() {
        return (StatusCode::OK, "ok\n".into());
    }
    let groups: Vec<String> = waiting.iter().map(ToString::to_string).collect();
    (StatusCode::SERVICE_UNAVAILABLE, format!("groups that do not serve yet: {}\n", groups.join(" ")))
}

/// The host's listener as axum wants to see it.
struct Port(Box<dyn Listener>);

impl axum::serve::Listener for Port {
    type Io = Box<dyn ByteStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            match self.0.accept().await {
                Ok(Connection { stream, peer, .. }) => return (stream, peer),
                Err(error) => {
                    tracing::warn!(%error, "a connection to the ops port could not be accepted");
                    tokio::time::sleep(PORT_REST).await;
                }
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.0.address()
    }
}
