//! Requests of hosts and of other shards: each is applied once, however often it comes, and answered each
//! time. Called by `Shard::apply`; never reads a clock.

use super::Shard;
use super::out::Out;
use crate::command::{Command, Connect, Publish, Published, Refused, Reply};
use crate::effect::Effect;
use crate::ids::{Host, ShardId};
use crate::stream::{Answer, Arrival, Request, Source, Told};

impl Shard {
    /// Applies a request if it is the next of its stream, answers it again if it was applied before, and
    /// refuses it if something before it is missing.
    pub(super) fn request(&mut self, request: Request, effects: &mut Vec<Effect>) {
        self.keeper.touch_stream(request.source);
        match request.source {
            Source::Host(host) => self.request_of_host(host, request, effects),
            Source::Outbox(shard) => self.request_of_outbox(shard, request, effects),
        }
    }

    fn request_of_host(&mut self, host: Host, request: Request, effects: &mut Vec<Effect>) {
        let Request { source, number, done_below, command } = request;
        if self.is_dead(host) {
            self.counters.stale_host += 1;
            return;
        }
        let stream = self.streams.entry(source).or_default();
        match stream.arrive(number, done_below) {
            Arrival::Gap => {
                let last = stream.last();
                self.counters.requests_too_early += 1;
                self.forget_empty_stream(source);
                effects.push(Effect::Gap { source, last });
            }
            Arrival::Repeat(kept) => {
                self.counters.requests_repeated += 1;
                self.repeat(Answer { source, number, reply: kept }, &command, effects);
            }
            Arrival::New => {
                let mut out = Out::to(effects, source, number);
                self.carry_out(command, &mut out);
                let kept = out.finish();
                if let Some(stream) = self.streams.get_mut(&source) {
                    stream.answered(done_below, kept);
                }
            }
        }
    }

    /// An outbox's items have their positions as numbers. Those that were seen are left out and answered as
    /// taken, and so are the groups of one that came in parts and was cut off in between; a shard sends nothing but
    /// messages. A request before which another is missing, or another part, is refused: were it taken, that would be
    /// left out.
    fn request_of_outbox(&mut self, shard: ShardId, request: Request, effects: &mut Vec<Effect>) {
        let source = Source::Outbox(shard);
        let stream = self.streams.entry(source).or_default();
        let last = stream.last();
        if stream.lacks_before(&request) {
            self.counters.requests_too_early += 1;
            self.forget_empty_stream(source);
            effects.push(Effect::Gap { source, last });
            return;
        }
        let mut out = Out::to(effects, source, request.number);
        let mut partly = None;
        if let Command::Publish(Publish { reply_to, publisher, mut items, .. }) = request.command {
            let unfinished = items.iter().filter(|item| item.number > request.number);
            partly = unfinished.flat_map(|item| &item.groups).map(|pick| &pick.group).max().cloned();
            let seen: Vec<u64> = items.iter().map(|item| item.number).filter(|n| *n <= last).collect();
            items.retain_mut(|item| stream.leave_out_seen(item));
            self.counters.requests_repeated += u64::from(items.is_empty());
            let mut results: Vec<(u64, Published)> =
                seen.into_iter().map(|n| (n, Published::Taken)).collect();
            results.extend(self.publish_items(&publisher, &items, &mut out));
            out.answer(reply_to, Reply::Published(results));
        }
        let _not_kept = out.finish();
        self.streams.entry(source).or_default().passed(request.number, partly);
    }

    fn carry_out(&mut self, command: Command, out: &mut Out<'_>) {
        match command {
            Command::Connect(connect) => self.connect(connect, out),
            Command::End(end) => self.end(&end, out),
            Command::Subscribe(subscribe) => self.subscribe(subscribe, out),
            Command::Unsubscribe(unsubscribe) => self.unsubscribe(unsubscribe, out),
            Command::Publish(publish) => self.publish(&publish, out),
            Command::Acks(acks) => self.acks(&acks, out),
            Command::Receive(receive) => self.receive(receive, out),
            Command::Release(release) => self.release(&release, out),
        }
    }

    /// Answers a repeat as the request itself was answered. A CONNECT is answered by what has become of its
    /// connection since, and acknowledgements by what is due for them and in no state.
    fn repeat(&mut self, mut answer: Answer, command: &Command, effects: &mut Vec<Effect>) {
        match command {
            Command::Connect(connect) => {
                let kept = answer.reply.take();
                if let Some(old) = self.waits_for(connect) {
                    effects.push(Effect::Reply(old, Reply::Stop));
                } else {
                    answer.reply = Some(self.connect_again(connect, kept));
                }
            }
            Command::Acks(acks) => self.acks_again(acks, effects),
            _ => {}
        }
        effects.push(Effect::Answer(answer));
    }

    fn connect_again(&self, connect: &Connect, kept: Option<Told>) -> Told {
        match (self.connected(connect), kept) {
            (Some(connected), _) => (Some(connect.connection), Reply::Connected(Ok(connected))),
            (None, Some(refused)) => refused,
            // It waited, and a newer one came; or it has ended, and nobody reads this.
            (None, None) => (Some(connect.connection), Reply::Connected(Err(Refused::TakenOver))),
        }
    }

    fn forget_empty_stream(&mut self, source: Source) {
        if self.streams.get(&source).is_some_and(|stream| stream.last() == 0) {
            self.streams.remove(&source);
        }
    }
}
