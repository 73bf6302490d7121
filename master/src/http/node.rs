//! A master as its doors see it: it stands by or leads, in turn.

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use mezzo_api::v1::MasterInfo;
use mezzo_server::{files::Files, http::authentication::Gate, notify};

use super::App;
use crate::{flags::Flags, server::Input};

/// A request waits for a leader that is not sure for so long; it is so after each hiccup of ZooKeeper.
const UNSURE: Duration = Duration::from_secs(5);
const LOOK_AT_LEASE: Duration = Duration::from_secs(1);

/// What this master is at present.
#[derive(Clone, Debug)]
pub(crate) enum Role {
    /// It leads.
    Leading(Arc<App>),
    /// It was elected, under this id, and reads the registry.
    Recovering(Arc<MasterInfo>),
    /// Another one leads, or nobody does as far as it knows.
    Standby(Option<Arc<MasterInfo>>),
}

/// One process.
#[derive(Debug)]
pub(crate) struct Node {
    role: RwLock<Role>,
    masters: RwLock<Arc<[MasterInfo]>>,
    /// What it was told.
    pub(crate) flags: Flags,
    /// Who may ask what.
    pub(crate) gate: Gate,
    /// Seconds since the epoch.
    pub(crate) start_time: f64,
    /// What `/files/…` shows.
    pub(crate) files: Files,
    /// `/files/…`
    pub(crate) file_router: axum::Router,
}

impl Node {
    /// A master that knows of no leader yet.
    pub(crate) fn new(flags: Flags, start_time: f64, files: Files) -> Self {
        let file_router = mezzo_server::files::router(files.clone());
        Self {
            role: RwLock::new(Role::Standby(None)),
            masters: RwLock::default(),
            gate: flags.gate.clone(),
            flags,
            start_time,
            files,
            file_router,
        }
    }

    /// It is something else from now on.
    pub(crate) fn set(&self, role: Role) {
        notify::status(match &role {
            Role::Leading(_) => "leading",
            Role::Recovering(_) => "elected, reading the registry",
            Role::Standby(Some(_)) => "standing by; another master leads",
            Role::Standby(None) => "standing by; no leader is known",
        });
        *self.role.write().unwrap_or_else(PoisonError::into_inner) = role;
    }

    /// These stand for election.
    pub(crate) fn set_masters(&self, masters: Vec<MasterInfo>) {
        *self.masters.write().unwrap_or_else(PoisonError::into_inner) = masters.into();
    }

    /// Who stands for election as far as this master knows; nobody where there is no election.
    pub(crate) fn masters(&self) -> Arc<[MasterInfo]> {
        Arc::clone(&self.masters.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Ends when the core of a leader answers; at once where there is none that has to.
    pub(crate) async fn proof_of_life(&self) {
        let Role::Leading(app) = self.present() else { return };
        // A leader that is not sure whether it leads keeps still, as it must.
        while app.lease.is_valid() {
            tokio::select! {
                _ = app.core.ask(Input::Ping) => return,
                () = tokio::time::sleep(LOOK_AT_LEASE) => {}
            }
        }
    }

    fn present(&self) -> Role {
        self.role.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What it is now. A leader answers while its lease is valid only: one that was frozen waits until it knows.
    pub(crate) async fn role(&self) -> Role {
        let role = self.present();
        let Role::Leading(app) = &role else { return role };
        if app.lease.is_valid() || mezzo_api::mutant!("doors-without-lease") {
            return role;
        }
        let mut lease = app.lease.clone();
        match tokio::time::timeout(UNSURE, lease.valid()).await {
            Ok(Ok(())) => role,
            Ok(Err(_)) => match self.present() {
                Role::Leading(_) => Role::Standby(None), // it is about to be told
                other => other,
            },
            Err(_) => Role::Standby(None),
        }
    }
}
