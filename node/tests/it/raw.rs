//! gRPC whose messages are bytes, whatever is in them: for what no message type would let us say.
//!
//! Not here: HTTP/2 by hand (`protocol.rs`).

use bytes::{Buf as _, BufMut as _};
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::Channel;

/// Bytes in the place of messages.
#[derive(Clone, Copy, Default)]
pub struct Raw;

impl Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, into: &mut EncodeBuf<'_>) -> Result<(), Status> {
        into.put_slice(&item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        let mut bytes = vec![0; from.remaining()];
        from.copy_to_slice(&mut bytes);
        Ok(Some(bytes))
    }
}

/// What comes back for these bytes at this path.
pub async fn call(door: &Channel, path: &str, body: Vec<u8>) -> Result<Vec<u8>, Status> {
    let mut grpc = tonic::client::Grpc::new(door.clone()).max_encoding_message_size(64 << 20);
    grpc.ready().await.expect("the connection stands");
    let path = path.parse().expect("a path");
    let message = futures_util::stream::iter([body]);
    let reply = grpc.streaming(tonic::Request::new(message), path, Raw).await?;
    let mut replies = reply.into_inner();
    let mut all = Vec::new();
    while let Some(reply) = replies.message().await? {
        all.extend(reply);
    }
    Ok(all)
}
