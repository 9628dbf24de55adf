//! The word that the node stops, and how everything that runs hears it.
//! `node` says it once; listeners, connections and the HTTP server wait for it. It is never taken back.

use tokio::sync::watch;

/// Hears that the node stops. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Stop(watch::Receiver<bool>);

/// Says that the node stops; dropping it says so too.
#[derive(Debug)]
pub(crate) struct Stopper(watch::Sender<bool>);

/// A word not said yet.
pub(crate) fn stop_pair() -> (Stopper, Stop) {
    let (sender, receiver) = watch::channel(false);
    (Stopper(sender), Stop(receiver))
}

impl Stop {
    /// Waits until the node stops. Safe to drop and to call again.
    pub(crate) async fn requested(&mut self) {
        // An error means that the stopper is gone, which is the same word.
        let _ = self.0.wait_for(|stopped| *stopped).await;
    }
}

impl Stopper {
    /// Says it.
    pub(crate) fn stop(self) {
        self.0.send_replace(true);
    }
}
