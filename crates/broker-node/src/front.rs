//! What answers before the node belongs to a cluster, and until it has stopped: the ports for HTTP and for the admin API.
//! Opened by the composition root first, closed last. It knows nothing by itself: the [`Subject`] is told.

use std::sync::Arc;

use tokio::task::JoinSet;

use crate::admin::{self, Doors, Subject};
use crate::config::Settings;
use crate::http::{self, Endpoints};
use crate::metrics;
use crate::stop::{Stopper, stop_pair};

/// The ports that are there all the time.
pub(crate) struct Front {
    /// What they tell of.
    pub(crate) subject: Subject,
    http: JoinSet<()>,
    admin: Vec<JoinSet<()>>,
    stopper: Stopper,
}

impl Front {
    /// Binds the ports that the settings name, and answers at them. To be called on the main runtime.
    ///
    /// # Errors
    /// One of them cannot be bound.
    pub(crate) fn open(settings: &Settings) -> anyhow::Result<Self> {
        let subject = Subject::new(&settings.node.name);
        let (stopper, stop) = stop_pair();
        let http = match settings.http.listen_address()? {
            Some(address) => {
                let (measured, ready) = (subject.clone(), subject.readiness().clone());
                let endpoints = Endpoints {
                    metrics: Arc::new(move || metrics::text(&measured.snapshot())),
                    ready: Arc::new(move || ready.now()),
                };
                http::start(&address, &endpoints, &stop)?
            }
            None => JoinSet::new(),
        };
        let mut admin = Vec::new();
        if let Some(address) = settings.admin.listen_address()? {
            admin.push(admin::start(&address, &Doors::open(&settings.admin)?, &subject, &stop)?);
        }
        if let Some(address) = settings.admin_cluster_address()? {
            admin.push(admin::start(&address, &Doors::for_nodes(settings)?, &subject, &stop)?);
        }
        Ok(Self { subject, http, admin, stopper })
    }

    /// Closes the ports.
    pub(crate) async fn close(self) {
        let Self { mut http, admin, stopper, .. } = self;
        stopper.stop();
        http.shutdown().await;
        for mut admin in admin {
            admin.shutdown().await;
        }
    }
}
