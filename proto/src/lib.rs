//! The RPCs of Strongroom, generated from `strongroom.proto`, and their descriptors.
//!
//! Not here: what the carried bytes mean (`proto/format`), who may call what (`node/identity`).

/// Messages, clients and servers of `package strongroom.v1`.
#[expect(missing_docs, reason = "generated; the documentation stands in strongroom.proto")]
#[expect(clippy::allow_attributes_without_reason, reason = "generated")]
pub mod v1 {
    tonic::include_proto!("strongroom.v1");
}

pub mod payload;

/// The metadata key under which every refusal names its reason.
pub const REASON: &str = "strongroom-reason";

/// The metadata key under which a refusal says after how many milliseconds the same may be asked again.
pub const RETRY_AFTER_MS: &str = "strongroom-retry-after-ms";

/// The compiled descriptors (`FileDescriptorSet`), for the test that walks every method.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
