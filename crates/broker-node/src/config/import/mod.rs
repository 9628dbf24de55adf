//! `quelea config import`: a `mosquitto.conf` as a configuration of Quelea's. Called by `cli`.
//! What would let in more people than before, or others, is refused and never left out; it opens no socket.

mod lines;
mod listeners;
mod options;
#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use self::lines::Line;
use self::listeners::Listeners;
use self::options::{Meaning, meaning};
use super::ConfigError;
use super::load::{of_table, set};

/// A configuration that was imported.
#[derive(Debug)]
pub(crate) struct Imported {
    /// It, as TOML.
    pub(crate) toml: String,
    /// What is otherwise here than it was there, a line each.
    pub(crate) notes: Vec<String>,
}

/// A `mosquitto.conf` that cannot be imported.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ImportError {
    /// A file or folder that cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// More than anybody configures.
    #[error("{} is too large: expected at most {max} in all", path.display())]
    TooLarge {
        /// Where it was too much.
        path: PathBuf,
        /// What is allowed.
        max: &'static str,
    },
    /// A line that makes no sense, or that cannot be done.
    #[error("{place}: {option}: {problem}")]
    Line {
        /// File and line.
        place: String,
        /// Its first word.
        option: String,
        /// What is wrong with it, and what to do.
        problem: String,
    },
    /// What comes out cannot be used.
    #[error("what the lines come to cannot be used: {0}")]
    Result(#[from] ConfigError),
}

/// Reads the `mosquitto.conf` at `path`, with all that it includes.
///
/// # Errors
/// For the first line that is unknown, has a value that is not allowed, or asks for what would leave clients with more rights than
/// they had; and where the whole cannot be used.
pub(crate) fn import(path: &Path) -> Result<Imported, ImportError> {
    let mut importing = Importing::default();
    for line in lines::read(path)? {
        importing.take(&line)?;
    }
    importing.finish()
}

/// What has been read so far.
#[derive(Default)]
struct Importing {
    table: Table,
    listeners: Listeners,
    notes: Vec<String>,
    /// Behind `connection`, until the next listener: options of a bridge.
    in_bridge: bool,
    allows_anonymous: Option<bool>,
    sized: bool,
    per_listener: Option<Line>,
    log_types: Vec<String>,
}

impl Importing {
    fn take(&mut self, line: &Line) -> Result<(), ImportError> {
        match line.option.as_str() {
            "connection" => {
                self.in_bridge = true;
                self.note(line, "bridges are not imported: nodes of a cluster need none, and Mosquitto's own bridge may connect to Quelea");
                return Ok(());
            }
            "listener" => self.in_bridge = false,
            _ if self.in_bridge => return Ok(()),
            "allow_anonymous" => self.allows_anonymous = Some(line.boolean()?),
            "per_listener_settings" if line.boolean()? => self.per_listener = Some(line.clone()),
            "log_type" => self.log_types.push(line.value.clone()),
            "max_packet_size" | "message_size_limit" => self.sized = true,
            _ => {}
        }
        if self.listeners.take(line, &mut self.notes, &mut self.table)? {
            return Ok(());
        }
        match meaning(&line.option) {
            Some(Meaning::Key(key, kind)) => match kind.value(line)? {
                Ok(value) => self.set(key, value),
                Err(note) => {
                    self.note(line, note);
                    Ok(())
                }
            },
            Some(Meaning::NotNeeded) => Ok(()),
            Some(Meaning::Differs(why)) => {
                self.note(line, why);
                Ok(())
            }
            Some(Meaning::Off(why)) => {
                if line.boolean()? {
                    self.note(line, why);
                }
                Ok(())
            }
            Some(Meaning::On(why)) => {
                if !line.boolean()? {
                    self.note(line, why);
                }
                Ok(())
            }
            Some(Meaning::Refused(why)) => Err(line.wrong(why)),
            None => Err(line.wrong("no option of mosquitto.conf that is known here")),
        }
    }

    fn set(&mut self, key: &str, value: Value) -> Result<(), ImportError> {
        let keys: Vec<String> = key.split('.').map(str::to_owned).collect();
        Ok(set(&mut self.table, &keys, value)?)
    }

    fn note(&mut self, line: &Line, why: &str) {
        self.notes.push(format!("{}: {}: {why}", line.place, line.option));
    }

    fn finish(mut self) -> Result<Imported, ImportError> {
        if let Some(line) = &self.per_listener
            && self.listeners.count() > 1
        {
            return Err(line.wrong(
                "who may connect, and what they may do, is the same for all listeners here: take this line out, and what \
                 differs between the listeners",
            ));
        }
        if !self.sized {
            self.notes.push(
                "max_packet_size is not set: packets up to 1 MiB are taken here (mqtt.max_packet_size), Mosquitto takes larger ones"
                    .to_owned(),
            );
        }
        if let Some(level) = options::log_level(&self.log_types) {
            self.set("log.level", Value::String(level.into()))?;
        }
        // Without a listener Mosquitto is there for this machine alone, and lets everybody there in.
        let local = self.listeners.count() == 0;
        if let Some(allows) = self.allows_anonymous
            && (allows || local)
        {
            self.set("auth.allow_anonymous", Value::Boolean(allows))?;
        }
        self.listeners.put_into(&mut self.table)?;
        self.notes.push(
            "sessions and retained messages stay where they are: devices make their sessions anew; retained messages can be \
             published again from what `mosquitto_sub --retained-only -t '#' -F '%j'` prints"
                .to_owned(),
        );
        of_table(self.table.clone())?;
        let toml = self.table.to_string();
        Ok(Imported { toml, notes: self.notes })
    }
}
