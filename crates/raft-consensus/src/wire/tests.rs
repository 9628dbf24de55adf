//! What is written is what is read, for every message between replicas; hostile bytes are refused.

use std::collections::BTreeSet;

use openraft::raft::{StreamAppendError, TransferLeaderError};
use openraft::{EntryPayload, Membership};
use proptest::prelude::*;

use super::*;
use crate::types::{Entry, LeaderId, LogId, Proposal, SnapshotMeta, StoredMembership, TokioTypes};

fn id(term: u64, index: u64) -> LogId {
    LogId::new(LeaderId { term, node_id: 2 }, index)
}

fn append() -> AppendEntriesRequest<TokioTypes> {
    let members = Membership::new(vec![BTreeSet::from([1, 2, 3])], BTreeSet::from([1, 2, 3, 4])).unwrap();
    let entry = |index, payload| Entry { log_id: id(3, index), payload };
    AppendEntriesRequest {
        vote: Vote::new_committed(3, 2),
        prev_log_id: Some(id(2, 6)),
        entries: vec![
            entry(7, EntryPayload::Blank),
            entry(8, EntryPayload::Normal(Proposal(Bytes::from_static(b"commands")))),
            entry(9, EntryPayload::Membership(members)),
        ],
        leader_commit: Some(id(2, 5)),
    }
}

fn meta() -> SnapshotMeta {
    SnapshotMeta {
        last_log_id: Some(id(3, 9)),
        last_membership: StoredMembership::new(Some(id(1, 0)), Membership::default()),
    }
}

fn requests() -> Vec<Request<TokioTypes>> {
    let vote = |transfer| {
        let mut vote = VoteRequest::new(Vote::new(4, 1), Some(id(3, 9)));
        vote.leadership_transfer = transfer;
        vote
    };
    let header = Header { vote: Vote::new_committed(3, 2), meta: meta() };
    let bodies = [
        Body::Append(append()),
        Body::Vote(vote(false)),
        Body::PreVote(vote(true)),
        Body::TransferLeader(TransferLeaderRequest::new(Vote::new_committed(3, 2), 1, Some(id(3, 9)))),
        Body::Snapshot(header),
        Body::Chunk(Chunk { offset: 77, data: Bytes::from_static(b"some of it") }),
        Body::End(End { length: 87, checksum: 5 }),
        Body::Fetch,
    ];
    bodies.into_iter().map(|body| Request { group: GroupId(4), to: 3, body }).collect()
}

fn responses() -> Vec<Response<TokioTypes>> {
    let vote = Vote::new_committed(5, 3);
    vec![
        Response::Append(Ok(Some(id(3, 9)))),
        Response::Append(Ok(None)),
        Response::Append(Err(StreamAppendError::Conflict(id(3, 9)))),
        Response::Append(Err(StreamAppendError::HigherVote(vote))),
        Response::Vote(VoteResponse::new(vote, Some(id(3, 9)), true)),
        Response::TransferLeader(Ok(())),
        Response::TransferLeader(Err(TransferLeaderError::VoteChanged { expected: vote, actual: vote })),
        Response::TransferLeader(Err(TransferLeaderError::LogNotFlushed {
            expected: None,
            actual: Some(id(3, 8)),
        })),
        Response::Progress(1 << 40),
        Response::Snapshot(vote),
        Response::Offer(meta()),
        Response::Chunk(Chunk { offset: 77, data: Bytes::from_static(b"some of it") }),
        Response::End(End { length: 87, checksum: 5 }),
    ]
}

#[test]
fn what_is_said_is_what_is_heard() {
    for request in requests() {
        let bytes = request.encode();
        assert_eq!(address(&bytes).unwrap(), (GroupId(4), 3));
        let read = Request::<TokioTypes>::decode(bytes).unwrap();
        assert_eq!(format!("{read:?}"), format!("{request:?}"));
    }
    for response in responses() {
        let read = Response::<TokioTypes>::decode(response.encode()).unwrap();
        assert_eq!(format!("{read:?}"), format!("{response:?}"));
    }
}

#[test]
fn a_body_is_shared_with_the_message_it_came_in() {
    let bytes = Request { group: GroupId(4), to: 3, body: Body::Append(append()) }.encode();
    let Body::Append(read) = Request::<TokioTypes>::decode(bytes.clone()).unwrap().body else {
        panic!("no append")
    };
    let EntryPayload::Normal(Proposal(body)) = &read.entries[1].payload else { panic!("no proposal") };
    assert!(bytes.as_ptr_range().contains(&body.as_ptr()));
}

#[test]
fn what_no_replica_would_say_is_refused() {
    let refused = |change: fn(&mut AppendEntriesRequest<TokioTypes>)| {
        let mut append = append();
        change(&mut append);
        let bytes = Request { group: GroupId(4), to: 3, body: Body::Append(append) }.encode();
        Request::<TokioTypes>::decode(bytes).is_err()
    };
    assert!(!refused(|_| ()));
    assert!(refused(|append| drop(append.entries.remove(1))), "a hole");
    assert!(refused(|append| append.prev_log_id = Some(id(2, u64::MAX))), "an index without end");
    assert!(refused(|append| append.entries[2].log_id = id(1, 9)), "an older term");
    assert!(refused(|append| append.vote = Vote::new(3, 2)), "a leader nobody voted for");
    let elected = VoteRequest::new(Vote::new_committed(4, 1), None);
    let bytes = Request::<TokioTypes> { group: GroupId(4), to: 3, body: Body::Vote(elected) }.encode();
    assert!(Request::<TokioTypes>::decode(bytes).is_err(), "an election that is over");
}

#[test]
fn a_damaged_chunk_and_a_newer_version_are_refused() {
    let chunk = Body::Chunk(Chunk { offset: 0, data: Bytes::from_static(b"state") });
    let bytes = Request::<TokioTypes> { group: GroupId(4), to: 3, body: chunk }.encode();
    let mut damaged = bytes.to_vec();
    let at = damaged.windows(5).position(|window| window == b"state").unwrap();
    damaged[at] ^= 1;
    assert!(Request::<TokioTypes>::decode(damaged.into()).is_err());
    let newer = proto::Request { version: VERSION + 1, ..proto::Request::decode(bytes).unwrap() };
    let error = Request::<TokioTypes>::decode(newer.encode_to_vec().into()).unwrap_err();
    assert!(matches!(error, RecordError::Version { found: 2, .. }), "{error}");
    let newer = proto::Response { version: VERSION + 1, body: None };
    let error = Response::<TokioTypes>::decode(newer.encode_to_vec().into()).unwrap_err();
    assert!(matches!(error, RecordError::Version { found: 2, .. }), "{error}");
}

proptest! {
    #[test]
    fn bytes_that_are_nothing_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let bytes = Bytes::from(bytes);
        let _ = address(&bytes);
        let _ = Request::<TokioTypes>::decode(bytes.clone());
        let _ = Response::<TokioTypes>::decode(bytes);
    }

    #[test]
    fn messages_with_bytes_changed_never_panic(which in 0_usize..21, flips in proptest::collection::vec((any::<usize>(), any::<u8>()), 1..6)) {
        let mut messages: Vec<Bytes> = requests().iter().map(Request::encode).collect();
        messages.extend(responses().iter().map(Response::encode));
        let mut bytes = messages[which].to_vec();
        for (at, flip) in flips {
            let at = at % bytes.len();
            bytes[at] ^= flip;
        }
        let bytes = Bytes::from(bytes);
        let _ = Request::<TokioTypes>::decode(bytes.clone());
        let _ = Response::<TokioTypes>::decode(bytes);
    }
}
