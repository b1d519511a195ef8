//! What tonic refuses before it reaches us is the caller's doing, and is called so: a message over its limit
//! RESOURCE_EXHAUSTED/LIMIT (N85; tonic: OUT_OF_RANGE), one that is no message INVALID_ARGUMENT/INVALID (N81; tonic:
//! INTERNAL, which means here that a node is broken).

use http::{HeaderValue, Response};
use strongroom_proto::REASON;
use tonic::{Code, Status};

use crate::answers::{self, Answer};

/// How tonic begins its text about messages over their limits.
const TOO_LONG: [&str; 2] = ["Error, decoded message length too large", "Error, encoded message length too large"];
/// How our codec, prost and tonic begin their texts about what is no message.
const NO_MESSAGE: [&str; 4] = [
    "a message does not read",
    "failed to decode Protobuf message",
    "protocol error: received message with",
    "Missing request message",
];
const GRPC_STATUS: &str = "grpc-status";
const GRPC_MESSAGE: &str = "grpc-message";

/// What tonic refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refused {
    TooLong,
    NoMessage,
}

impl Refused {
    fn of(code: Code, text: &str) -> Option<Self> {
        let begins = |begins: &[&str]| begins.iter().any(|begin| text.starts_with(begin));
        match code {
            Code::OutOfRange if begins(&TOO_LONG) => Some(Self::TooLong),
            Code::Internal if begins(&NO_MESSAGE) => Some(Self::NoMessage),
            _ => None,
        }
    }

    fn answer(self) -> Answer {
        match self {
            Self::TooLong => {
                Answer::new(Code::ResourceExhausted, "LIMIT", "the message is longer than this call allows")
            }
            Self::NoMessage => Answer::new(Code::InvalidArgument, "INVALID", "this is no message of this call"),
        }
    }
}

/// A status of a stream that broke: with the right code if a message was too long or none.
pub(crate) fn status(status: Status) -> Status {
    match Refused::of(status.code(), status.message()) {
        Some(refused) => answers::status(refused.answer()),
        None => status,
    }
}

/// The same for a call that tonic refused before it reached us. Its text is percent-encoded there.
pub(crate) fn response<B>(mut response: Response<B>) -> Response<B> {
    let headers = response.headers();
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let code = text(GRPC_STATUS).map_or(Code::Ok, |code| Code::from_bytes(code.as_bytes()));
    let message = text(GRPC_MESSAGE).unwrap_or_default().replace("%20", " ");
    let (code, message, reason) = match Refused::of(code, &message) {
        None => return response,
        Some(Refused::TooLong) => ("8", "LIMIT:%20the%20message%20is%20too%20long", "LIMIT"),
        Some(Refused::NoMessage) => ("3", "INVALID:%20this%20is%20no%20message%20of%20this%20call", "INVALID"),
    };
    let headers = response.headers_mut();
    headers.insert(GRPC_STATUS, HeaderValue::from_static(code));
    headers.insert(GRPC_MESSAGE, HeaderValue::from_static(message));
    headers.insert(REASON, HeaderValue::from_static(reason));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn n81_n85_what_tonic_refuses_has_our_codes() {
        let told = |code: Code, text: &str| {
            let status = status(Status::new(code, text));
            let over_http = response(status.clone().into_http::<()>());
            assert_eq!(Status::from_header_map(over_http.headers()).map(|same| same.code()), Some(status.code()));
            let raw = response(Status::new(code, text).into_http::<()>());
            assert_eq!(Status::from_header_map(raw.headers()).map(|same| same.code()), Some(status.code()), "{text}");
            status.code()
        };
        let too_long = "Error, decoded message length too large: found 9 bytes, the limit is: 8 bytes";
        assert_eq!(told(Code::OutOfRange, too_long), Code::ResourceExhausted);
        assert_eq!(told(Code::Internal, "a message does not read: buffer underflow"), Code::InvalidArgument);
        assert_eq!(told(Code::Internal, "failed to decode Protobuf message: bad tag"), Code::InvalidArgument);
        assert_eq!(told(Code::Internal, "Missing request message."), Code::InvalidArgument);
        // What is ours stays what it is.
        assert_eq!(told(Code::Internal, "DAMAGED: a row does not read"), Code::Internal);
        assert_eq!(told(Code::OutOfRange, "OUT_OF_RANGE: position 9"), Code::OutOfRange);
    }
}
