//! What quotas count, as callers get it.
//!
//! Not here: counting (`node/core`), adding up over shards (`node/service`).

use bytes::Bytes;
use strongroom_core::query::{Charge, Charges};
use strongroom_format::quota::Quota;
use strongroom_proto::v1 as pb;

/// The answer.
pub fn reply(charges: Charges) -> pb::UsageReply {
    let Charges { tenant, vaults, writers, upload_bytes_per_second } = charges;
    pb::UsageReply {
        tenant: tenant.map(|charge| charged(&charge)),
        vaults: vaults
            .into_iter()
            .map(|(vault, name, charge)| pb::Charged {
                vault: Bytes::copy_from_slice(vault.as_bytes()),
                name: name.map(|name| name.to_string()).unwrap_or_default(),
                ..charged(&charge)
            })
            .collect(),
        writers: writers
            .into_iter()
            .map(|(writer, charge)| pb::Charged { name: writer.to_string(), ..charged(&charge) })
            .collect(),
        upload_bytes_per_second: upload_bytes_per_second.unwrap_or_default(),
    }
}

fn charged(charge: &Charge) -> pb::Charged {
    let quotas = charge.quotas;
    let measured = |used, under_way, Quota { soft, hard }: Quota| Some(pb::Measured { used, under_way, soft, hard });
    pb::Charged {
        vault: Bytes::new(),
        name: String::new(),
        logical_bytes: measured(charge.logical_bytes, 0, quotas.logical_bytes),
        stored_bytes: measured(charge.stored_bytes, charge.reserved_bytes, quotas.stored_bytes),
        snapshots: measured(charge.snapshots, charge.undecided, quotas.snapshots),
        sessions: measured(charge.sessions, 0, quotas.sessions),
    }
}
