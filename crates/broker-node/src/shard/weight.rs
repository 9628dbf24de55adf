//! How large what is told to a shard is in an entry of its log: an upper bound, by which entries are made, waiting is
//! bounded, and what no record could hold is refused. Called before something is proposed; encodes nothing.

use raft_consensus::machine::Weight;
use session_store::command::{Command, Input, Publish, PublishItem, Scanned};
use session_store::picks::{Pick, PickedItem};
use topic_index::Filter;

/// Bytes that a command takes in an entry besides its messages, filters, acknowledgements and its client's identifier,
/// at most.
const COMMAND_BYTES: usize = 192;
/// The same for a message, besides its topic, properties and payload.
const MESSAGE_BYTES: usize = 80;
/// The same for a filter, besides its text: low, since the largest SUBSCRIBE must pass.
const FILTER_BYTES: usize = 40;
/// The same for an acknowledgement or a packet identifier.
const ACK_BYTES: usize = 16;
/// The same for an item of an outbox, besides who takes it.
const PICKED_BYTES: usize = 24;

/// How much room an input takes in an entry, at most.
pub(super) fn of(input: &Input) -> Weight {
    match input {
        Input::Request(request) => command(&request.command),
        Input::Scanned(page) => scanned(page),
        Input::Picked(items) => {
            let picks = |item: &PickedItem| item.picks.iter().map(Pick::size).sum::<usize>();
            one(items.iter().map(|item| PICKED_BYTES + picks(item)).sum())
        }
        Input::GivenBack(from) => one(from.group.group.len() + from.group.filter.as_str().len()),
        Input::Fenced(client, _) => one(client.as_str().len()),
        _ => one(0),
    }
}

/// Bytes that a command takes in an entry, at most, and how many publishes it is.
pub(super) fn command(command: &Command) -> Weight {
    let (client, bytes) = match command {
        Command::Publish(asked) => return publish(asked),
        Command::Receive(receive) => (&receive.client, receive.message.size() + MESSAGE_BYTES),
        Command::Connect(connect) => {
            let will = connect.will.as_ref().map_or(0, |will| will.body.size() + MESSAGE_BYTES);
            (&connect.client, will)
        }
        Command::Subscribe(subscribe) => {
            let filters = subscribe.filters.iter().map(|(_, to)| filter_bytes(&to.filter));
            (&subscribe.client, filters.sum())
        }
        Command::Unsubscribe(unsubscribe) => {
            let filters = unsubscribe.filters.iter().map(|(_, filter)| filter_bytes(filter));
            (&unsubscribe.client, filters.sum())
        }
        Command::Acks(acks) => (&acks.client, acks.acks.len() * ACK_BYTES),
        Command::End(end) => (&end.client, end.unsent.len() * ACK_BYTES),
        Command::Release(release) => (&release.client, 0),
    };
    one(bytes + client.as_str().len())
}

/// Bytes that publishes take in an entry, at most, and how many there are.
pub(super) fn publish(publish: &Publish) -> Weight {
    let bytes: usize = publish.items.iter().map(PublishItem::size).sum();
    Weight { items: publish.items.len(), bytes: bytes + publish.publisher.as_str().len() + COMMAND_BYTES }
}

/// How much room a page of retained messages takes in an entry, at most.
pub(super) fn scanned(page: &Scanned) -> Weight {
    let messages: usize = page.messages.iter().map(|message| message.size() + MESSAGE_BYTES).sum();
    let after = page.after.as_ref().map_or(0, |after| after.as_bytes().len());
    one(messages + after + page.client.as_str().len())
}

/// One command with so many bytes of its own.
fn one(bytes: usize) -> Weight {
    Weight { items: 1, bytes: bytes + COMMAND_BYTES }
}

fn filter_bytes(filter: &Filter) -> usize {
    let group = match filter {
        Filter::Shared { group, .. } => group.len(),
        Filter::Plain(_) => 0,
    };
    filter.plain().as_str().len() + group + FILTER_BYTES
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use mqtt_codec::{Limits, PacketId, QoS, SharedPublish, Text};
    use raft_consensus::machine::Machine;
    use session_store::command::{Ack, Acks, Connect, End, GroupPick, Receive, Release, RetainedWanted};
    use session_store::command::{Subscribe, SubscribeTo, Will, WillFate};
    use session_store::matching::{GroupName, Subscribed};
    use session_store::picks::{InGroup, Taker};
    use session_store::{
        ClientId, ConnectionId, Epoch, Host, Incarnation, Message, Millis, NodeId, Request, ShardId, Source,
    };

    use super::super::ShardMachine;
    use super::*;

    fn request(command: Command) -> Input {
        Input::from(Request { source: Source::Host(Host::default()), number: 1, done_below: 1, command })
    }

    /// The largest numbers that a client or a node can come to, which take most bytes.
    fn with_large_numbers() -> Vec<Input> {
        let (client, epoch) = (ClientId::new(&"c".repeat(1_024)), Epoch(u64::MAX));
        let packet_id = PacketId::new(u16::MAX).unwrap();
        let host = Host { node: NodeId(u32::MAX), incarnation: Incarnation(u32::MAX) };
        let connection = ConnectionId { host, number: u64::MAX };
        let body = SharedPublish::new(&Text::new("t").unwrap(), &Bytes::new(), &Bytes::new());
        let expires_at = Some(Millis(u64::MAX));
        let message =
            Arc::new(Message { body: body.clone(), qos: QoS::ExactlyOnce, retain: true, expires_at });
        let will =
            Will { body, qos: QoS::ExactlyOnce, retain: true, delay_s: u32::MAX, expiry_s: Some(u32::MAX) };
        let group = Arc::new(GroupName { group: "g".into(), filter: plain("f") });
        let groups = vec![GroupPick { group: group.clone(), choice: u64::MAX }; 100];
        let item = PublishItem {
            number: u64::MAX,
            message: message.clone(),
            sessions: true,
            store_retained: true,
            groups,
        };
        let acks = [Ack::Puback(packet_id), Ack::Pubrec(packet_id, true), Ack::PageTaken(u64::MAX)];
        let connect = Connect {
            client: client.clone(),
            connection,
            clean_start: true,
            expiry_s: u32::MAX,
            receive_maximum: u16::MAX,
            will: Some(will),
        };
        let (will, unsent) = (WillFate::KeepAtLeast(u32::MAX), vec![packet_id; 1_000]);
        let end = End { client: client.clone(), epoch, will, expiry_s: Some(u32::MAX), unsent };
        let publish = Publish {
            reply_to: Some(connection),
            publisher: client.clone(),
            epoch: None,
            items: vec![item; 100],
        };
        let commands = vec![
            Command::Connect(connect),
            Command::End(end),
            Command::Publish(publish),
            Command::Acks(Acks { client: client.clone(), epoch, acks: acks.repeat(100) }),
            Command::Receive(Receive { client: client.clone(), epoch, packet_id, message: message.clone() }),
            Command::Release(Release { client: client.clone(), epoch, packet_id }),
        ];
        let request = |command| {
            let (number, done_below) = (u64::MAX, u64::MAX);
            Input::from(Request { source: Source::Host(host), number, done_below, command })
        };
        let after = Some(topic_index::Cursor::from_bytes(&[b'a'; 65_535]));
        let scanned = Scanned { client, scan: u64::MAX, messages: vec![message; 64], after };
        let takers = [Taker::Member(connection), Taker::Shard(ShardId(u16::MAX), u64::MAX)];
        let pick = |at: usize| Pick { group: group.clone(), taker: takers[at % 2] };
        let picks = (0..100).map(pick).collect();
        let picked = vec![PickedItem { position: u64::MAX, picks, more: true }; 100];
        let none = vec![PickedItem { position: u64::MAX, picks: Vec::new(), more: true }; 100];
        let given_back = InGroup { position: u64::MAX, group };
        let others = [
            Input::Scanned(scanned),
            Input::Picked(picked),
            Input::Picked(none),
            Input::GivenBack(given_back),
        ];
        commands.into_iter().map(request).chain(others).collect()
    }

    fn plain(text: &str) -> topic_index::PlainFilter {
        Filter::parse(text, 9).unwrap().plain().clone()
    }

    #[test]
    fn no_command_is_larger_in_an_entry_than_it_counts_as() {
        for input in with_large_numbers() {
            let weight = of(&input).bytes;
            let encoded = ShardMachine::encode(0, std::slice::from_ref(&input)).len();
            assert!(weight >= encoded, "{weight} for {encoded} bytes: {input:?}");
        }
    }

    #[test]
    fn the_largest_subscribe_fits_into_an_entry_beside_the_largest_packet() {
        let subscribed = Subscribed {
            qos: QoS::ExactlyOnce,
            no_local: true,
            retain_as_published: true,
            id: Some(268_435_455),
        };
        for text in ["f", "$share/g/f", "$queue/f"] {
            let to = SubscribeTo {
                filter: Filter::parse(text, 9).unwrap(),
                subscribed,
                retained: RetainedWanted::Never,
            };
            let count = usize::from(Limits::default().filters_max);
            let subscribe = Subscribe {
                client: ClientId::new(&"c".repeat(1_024)),
                epoch: Epoch(u64::MAX),
                packet_id: PacketId::MIN,
                filters: (0..count).map(|place| (place, to.clone())).collect(),
            };
            let input = request(Command::Subscribe(subscribe));
            let weight = of(&input).bytes;
            assert!(weight >= ShardMachine::encode(0, &[input]).len());
            // Each filter is in the packet with its length and its options.
            assert!(weight - count * (text.len() + 3) < BESIDES_PACKET, "{weight}");
        }
    }

    /// What half a segment of the log has, less what is kept for votes, besides the largest packet.
    const BESIDES_PACKET: usize = (1 << 20) - (66 << 10);
}
