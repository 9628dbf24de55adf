//! Asking the cluster group for something and waiting for the answer, on the node that leads it. Called by nodes;
//! decides nothing itself.

use super::command::{Command, Refusal, Standing};
use super::machine::ClusterMachine;
use crate::group::{Gone, Group};
use crate::types::Types;

/// Why it will not be as the cluster group was asked.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// The group has ended.
    #[error(transparent)]
    Gone(#[from] Gone),
    /// It said no.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

impl<C: Types> Group<C, ClusterMachine> {
    /// Waits until it is as a command says: proposes it, and again where it was lost with a change of leader. While
    /// another node leads it waits, since only a leader's answer is one.
    ///
    /// # Errors
    /// The command was refused, or the group has ended.
    pub async fn ask(&self, command: &Command) -> Result<(), AskError> {
        let me = self.me();
        let mut leadership = self.leadership();
        loop {
            while leadership.now().leader != Some(me) {
                leadership.changed().await?;
            }
            self.room().await?.propose(command.clone());
            let asked = command.clone();
            match self.look(move |machine| machine.state().standing(&asked)).await? {
                Standing::InForce => return Ok(()),
                Standing::Refused(refusal) => return Err(refusal.into()),
                Standing::Open => {
                    leadership.changed().await?;
                }
            }
        }
    }
}
