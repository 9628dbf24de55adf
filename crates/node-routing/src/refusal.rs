//! Refusals as gRPC says them: a code for everybody, and in the details the refusal itself. Used by both ends; the one
//! place where codes are chosen.

use std::time::Duration;

use prost::Message;
use raft_consensus::network::{Refusal, TransportError};
use raft_consensus::types::NodeId;
use tonic::{Code, Status};

use crate::proto::routing as proto;
use crate::proto::routing::refusal::Why;

/// Bytes of a text that a refusal carries at most: it travels in a header.
const TEXT_BYTES_MAX: usize = 256;

fn cut(text: &str) -> String {
    let end = text.char_indices().map(|(at, _)| at).find(|at| *at > TEXT_BYTES_MAX).unwrap_or(text.len());
    text.get(..end).unwrap_or_default().to_owned()
}

/// A refusal as the status of a request.
pub(crate) fn status(refusal: &Refusal) -> Status {
    let nothing = proto::Nothing {};
    let (code, why) = match refusal {
        Refusal::WrongCluster => (Code::FailedPrecondition, Why::WrongCluster(nothing)),
        Refusal::WrongNode { expected, found } => {
            (Code::FailedPrecondition, Why::WrongNode(proto::Node { expected: *expected, found: *found }))
        }
        Refusal::WrongName(name) => (Code::PermissionDenied, Why::WrongName(cut(name))),
        Refusal::WrongVersion { expected, found } => (
            Code::FailedPrecondition,
            Why::WrongVersion(proto::Version { expected: *expected, found: *found }),
        ),
        Refusal::DeadRun { found, lowest_live } => {
            (Code::FailedPrecondition, Why::DeadRun(proto::Run { found: *found, lowest_live: *lowest_live }))
        }
        Refusal::TooLarge => (Code::OutOfRange, Why::TooLarge(nothing)),
        Refusal::UnknownGroup(group) => (Code::NotFound, Why::UnknownGroup(*group)),
        Refusal::Malformed(reason) => (Code::InvalidArgument, Why::Malformed(cut(reason))),
        Refusal::Snapshot(reason) => (Code::DataLoss, Why::Snapshot(cut(reason))),
        Refusal::Ended => (Code::Unavailable, Why::Ended(nothing)),
    };
    let details = proto::Refusal { why: Some(why) }.encode_to_vec().into();
    Status::with_details(code, cut(&refusal.to_string()), details)
}

/// The refusal that a status carries.
pub(crate) fn read(status: &Status) -> Option<Refusal> {
    if status.details().is_empty() {
        return None;
    }
    Some(match proto::Refusal::decode(status.details()).ok()?.why? {
        Why::WrongCluster(_) => Refusal::WrongCluster,
        Why::WrongNode(proto::Node { expected, found }) => Refusal::WrongNode { expected, found },
        Why::WrongName(name) => Refusal::WrongName(name),
        Why::WrongVersion(proto::Version { expected, found }) => Refusal::WrongVersion { expected, found },
        Why::DeadRun(proto::Run { found, lowest_live }) => Refusal::DeadRun { found, lowest_live },
        Why::TooLarge(_) => Refusal::TooLarge,
        Why::UnknownGroup(group) => Refusal::UnknownGroup(group),
        Why::Malformed(reason) => Refusal::Malformed(reason),
        Why::Snapshot(reason) => Refusal::Snapshot(reason),
        Why::Ended(_) => Refusal::Ended,
    })
}

/// What a status means to whoever asked a node, and allowed so much time.
pub(crate) fn error(status: &Status, to: NodeId, within: Duration) -> TransportError {
    if let Some(refusal) = read(status) {
        return TransportError::Refused { to, refusal };
    }
    match status.code() {
        // This is how tonic says it, at whichever end.
        Code::OutOfRange => TransportError::Refused { to, refusal: Refusal::TooLarge },
        Code::DeadlineExceeded => TransportError::Timeout { to, within },
        _ => TransportError::Unreachable { to, reason: reason(status) },
    }
}

/// A status in words, with what is behind it.
pub(crate) fn reason(status: &Status) -> String {
    let mut words = status.message().to_owned();
    let mut cause = std::error::Error::source(status);
    while let Some(error) = cause {
        let error_words = error.to_string();
        if !words.contains(&error_words) {
            words = format!("{words}: {error_words}");
        }
        cause = error.source();
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_comes_back_as_it_was() {
        let refusals = [
            Refusal::WrongCluster,
            Refusal::WrongNode { expected: 2, found: 3 },
            Refusal::WrongVersion { expected: 1, found: 2 },
            Refusal::DeadRun { found: 4, lowest_live: 5 },
            Refusal::TooLarge,
            Refusal::UnknownGroup(8),
            Refusal::Malformed("no".to_owned()),
            Refusal::Snapshot("damaged".to_owned()),
            Refusal::Ended,
        ];
        for refusal in refusals {
            let status = status(&refusal);
            assert_eq!(read(&status), Some(refusal.clone()));
            let error = error(&status, 9, Duration::ZERO);
            assert_eq!(error, TransportError::Refused { to: 9, refusal });
        }
    }

    #[test]
    fn long_words_are_cut_between_characters() {
        let long = Refusal::Malformed("ä".repeat(5_000));
        let Some(Refusal::Malformed(text)) = read(&status(&long)) else { panic!("{long}") };
        assert!(text.len() <= TEXT_BYTES_MAX + 4 && text.chars().all(|found| found == 'ä'), "{}", text.len());
    }

    #[test]
    fn what_is_no_refusal_is_late_or_out_of_reach() {
        let within = Duration::from_millis(5);
        let late = error(&Status::deadline_exceeded("late"), 1, within);
        assert_eq!(late, TransportError::Timeout { to: 1, within });
        let garbage = Status::with_details(Code::Internal, "x", vec![0xFF; 9].into());
        assert!(matches!(error(&garbage, 1, within), TransportError::Unreachable { to: 1, .. }));
    }
}
