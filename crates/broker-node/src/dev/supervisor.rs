//! The one process of a development cluster that is no node: starts the nodes, says where they are, starts one again that is
//! asked for, and stops them all. A node that ended stays so until then.

use std::io::Write;
use std::path::Path;

use anyhow::bail;
use futures_util::future::{join_all, select_all};
use tokio::net::UnixListener;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::child::Child;
use super::control::{self, Wish};
use super::plan::{self, Place};
use super::{ClusterArgs, sensors};
use crate::data_dir::DataDir;

/// A cluster that runs.
struct Cluster<'a> {
    data_dir: &'a Path,
    places: Vec<Place>,
    /// Those that run.
    children: Vec<Child>,
}

/// What happened.
enum Event {
    /// The cluster is to stop.
    Stop,
    /// The node with this name ended, and how.
    Ended(String, String),
    /// Somebody wants something.
    Wish(Wish),
    /// Nobody who wants anything.
    Nothing,
}

/// Runs a cluster until it is told to stop.
///
/// # Errors
/// A node does not start.
pub(super) async fn run(args: &ClusterArgs) -> anyhow::Result<()> {
    let data_dir = args.data_dir.as_path();
    let _lock = DataDir::open(data_dir)?;
    let mut signals = [SignalKind::terminate(), SignalKind::interrupt()].map(signal);
    let [Ok(terminate), Ok(interrupt)] = &mut signals else { bail!("cannot wait for signals") };
    let wishes = control::listen(data_dir)?;
    let places = plan::places(args)?;
    let mut cluster = Cluster { data_dir, places, children: Vec::new() };
    let started = tokio::select! {
        started = cluster.start() => started.map(|()| true),
        _ = terminate.recv() => Ok(false),
        _ = interrupt.recv() => Ok(false),
    };
    if let Ok(true) = started {
        cluster.say(&plan::table(&cluster.places));
        let addresses: Vec<String> = cluster.places.iter().map(|place| place.mqtt.clone()).collect();
        let _sensors = sensors::spawn(args.sensors, &addresses);
        while cluster.step((terminate, interrupt), &wishes).await {}
    }
    cluster.stop().await;
    started.map(drop)
}

impl Cluster<'_> {
    async fn start(&mut self) -> anyhow::Result<()> {
        for place in self.places.clone() {
            self.children.push(Child::start(place, &self.places, self.data_dir)?);
        }
        let nodes = self.places.len();
        for ready in join_all(self.children.iter_mut().map(|child| child.ready(nodes))).await {
            ready?;
        }
        self.note()
    }

    /// Brings `cluster.json` up to date.
    fn note(&mut self) -> anyhow::Result<()> {
        for place in &mut self.places {
            let child = self.children.iter().find(|child| child.place.name == place.name);
            place.pid = child.map_or(0, |child| child.place.pid);
        }
        plan::write(self.data_dir, &self.places)
    }

    /// Waits for the next event and deals with it; false where the cluster is to stop.
    async fn step(&mut self, signals: (&mut Signal, &mut Signal), wishes: &UnixListener) -> bool {
        match self.next(signals, wishes).await {
            Event::Stop => return false,
            Event::Ended(name, how) => {
                self.children.retain(|child| child.place.name != name);
                let directory = self.data_dir.display();
                self.say(&format!(
                    "{name} ended ({how}): quelea dev restart {name} --data-dir {directory}\n"
                ));
                if let Err(error) = self.note() {
                    self.say(&format!("{error:#}\n"));
                }
            }
            Event::Wish(wish) => {
                let result = self.restart(&wish.name).await;
                wish.answer(result).await;
            }
            Event::Nothing => {}
        }
        true
    }

    async fn next(
        &mut self,
        (terminate, interrupt): (&mut Signal, &mut Signal),
        wishes: &UnixListener,
    ) -> Event {
        let ends = self.children.iter_mut().map(|child| {
            Box::pin(async move {
                let status = child.ended().await;
                let how = status.map_or_else(|| "unknown".to_owned(), |status| status.to_string());
                Event::Ended(child.place.name.clone(), how)
            })
        });
        let ends: Vec<_> = ends.collect();
        let ended = async {
            match ends.is_empty() {
                true => std::future::pending().await,
                false => select_all(ends).await.0,
            }
        };
        tokio::select! {
            _ = terminate.recv() => Event::Stop,
            _ = interrupt.recv() => Event::Stop,
            event = ended => event,
            accepted = wishes.accept() => match accepted {
                Ok((stream, _)) => Wish::read(stream).await.map_or(Event::Nothing, Event::Wish),
                Err(_) => Event::Nothing,
            },
        }
    }

    async fn restart(&mut self, name: &str) -> anyhow::Result<()> {
        let place = plan::named(&mut self.places, name)?.clone();
        if self.children.iter().any(|child| child.place.name == name) {
            bail!("{name} runs already");
        }
        let mut child = Child::start(place, &self.places, self.data_dir)?;
        child.ready(self.places.len()).await?;
        self.children.push(child);
        self.note()
    }

    async fn stop(&mut self) {
        self.children.iter().for_each(Child::tell_to_stop);
        join_all(self.children.iter_mut().map(Child::stopped)).await;
    }

    fn say(&self, words: &str) {
        // Nobody is left to be told if standard output is closed.
        let _closed = std::io::stdout().write_all(words.as_bytes());
    }
}
