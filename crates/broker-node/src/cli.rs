//! The command line: reads it, loads the configuration, and hands over to what does the work.
//! Called by `main` alone. A bad configuration ends here, with its message on standard error and exit code 2.

use crate::{
    access::{self, BadFile, PasswdArgs},
    admin::{self, Doors, TokenArgs},
    bench,
    cluster::{ClusterKeys, KeysError},
    config::{self, ConfigError, Flags, ImportError, Settings, Source},
    ctl, dev,
    listener::{self, ListenError},
    logging, node,
    pem::TlsError,
};
use clap::{Args, CommandFactory, Parser, Subcommand};
use clap_complete::{Shell, generate};
use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

/// Exit code for a configuration or a command line that cannot be used.
const EXIT_CONFIG: u8 = 2;

/// An MQTT broker for 3.1, 3.1.1 and 5.0.
#[derive(Debug, Parser)]
#[command(name = "quelea", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a node
    Run(RunArgs),
    /// Run a whole cluster on this machine
    Dev(dev::DevArgs),
    /// Add, change and remove the users of a password file
    Passwd(PasswdArgs),
    /// Make and remove tokens for the admin API
    Token(TokenArgs),
    /// See a cluster, and move what it does between its nodes
    Ctl(ctl::CtlArgs),
    /// Generate MQTT load and measure what a broker makes of it
    Bench(Box<bench::BenchArgs>),
    /// Print what has a shell complete the commands and options of quelea
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Check or show the configuration without running a node
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Say whether the configuration can be used
    Check(ConfigArgs),
    /// Print the configuration in force as TOML, with all defaults
    Show(ConfigArgs),
    /// Print a mosquitto.conf as a configuration of Quelea's, and on standard error what is otherwise here
    Import {
        /// The file, usually /etc/mosquitto/mosquitto.conf
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
}

#[derive(Debug, Args)]
struct RunArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Print a line for each packet
    #[arg(short, long)]
    verbose: bool,
    /// Stop when the process that started this one ends
    #[arg(long, hide = true)]
    stop_with_parent: bool,
}

#[derive(Debug, Args)]
struct ConfigArgs {
    /// The configuration file (TOML); each key can also be set as QUELEA__SECTION__KEY in the environment
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The name of this node (node.name)
    #[arg(long, value_name = "NAME")]
    node_name: Option<String>,
    /// The directory for everything the node keeps (node.data_dir)
    #[arg(long, value_name = "DIR")]
    data_dir: Option<String>,
    /// Where the listener "mqtt" listens: localhost:PORT, :PORT (all addresses) or IP:PORT (listener.mqtt.address)
    #[arg(long, value_name = "ADDR")]
    mqtt: Option<String>,
    /// Where HTTP is served, or "off" (http.address)
    #[arg(long, value_name = "ADDR")]
    http: Option<String>,
    /// Where the admin API is served, for quelea ctl: localhost:PORT, or "off" (admin.listen)
    #[arg(long, value_name = "ADDR")]
    admin: Option<String>,
    /// Where other nodes reach this one, or "off" (cluster.listen)
    #[arg(long, value_name = "ADDR")]
    cluster: Option<String>,
    /// Nodes to ask for a cluster to join (cluster.seeds)
    #[arg(long, value_name = "HOST:PORT,...", value_delimiter = ',', conflicts_with = "bootstrap")]
    join: Vec<String>,
    /// Found a cluster, once every seed has said that it belongs to none: on exactly one node (cluster.bootstrap)
    #[arg(long)]
    bootstrap: bool,
}

impl ConfigArgs {
    fn load(self) -> Result<Settings, ConfigError> {
        self.source(false).load()
    }

    fn source(self, packet_trace: bool) -> Source {
        let Self { config, node_name, data_dir, mqtt, http, admin, cluster, join, bootstrap } = self;
        let flags = Flags { node_name, data_dir, mqtt, http, admin, cluster, join, bootstrap, packet_trace };
        Source::new(config, flags)
    }
}

/// Does what the command line says and gives the exit code.
pub(crate) fn run() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Run(args) => {
            let source = args.config.source(args.verbose);
            with_settings(source.load(), |settings| {
                logging::start(&settings.log)?;
                if args.stop_with_parent {
                    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::TERM))?;
                }
                node::run(settings, source)
            })
        }
        Command::Dev(args) => dev::run(args).map(|()| ExitCode::SUCCESS),
        Command::Passwd(args) => access::passwd(&args).map(|()| ExitCode::SUCCESS),
        Command::Token(args) => admin::token(&args).map(|()| ExitCode::SUCCESS),
        Command::Ctl(args) => ctl::run(args),
        Command::Bench(args) => bench::run(*args).map(|()| ExitCode::SUCCESS),
        Command::Completions { shell } => complete(shell),
        Command::Config { command: ConfigCommand::Check(args) } => with_settings(args.load(), |settings| {
            listener::check_files(&settings)?;
            access::check_files(&settings)?;
            ClusterKeys::open(&settings)?;
            Doors::open(&settings.admin)?;
            Ok(writeln!(io::stdout(), "the configuration is valid")?)
        }),
        Command::Config { command: ConfigCommand::Show(args) } => with_settings(args.load(), |settings| {
            Ok(write!(io::stdout(), "{}", config::to_toml(&settings)?)?)
        }),
        Command::Config { command: ConfigCommand::Import { file } } => import(&file),
    };
    done.unwrap_or_else(|error| fail(&with_causes(&error), exit_code(&error)))
}

/// Prints what a shell reads.
fn complete(shell: Shell) -> anyhow::Result<ExitCode> {
    let mut script = Vec::new();
    generate(shell, &mut Cli::command(), "quelea", &mut script);
    io::stdout().write_all(&script)?;
    Ok(ExitCode::SUCCESS)
}

/// Prints what a `mosquitto.conf` comes to.
fn import(file: &Path) -> anyhow::Result<ExitCode> {
    let imported = config::import(file)?;
    for note in &imported.notes {
        writeln!(io::stderr(), "note: {note}")?;
    }
    write!(io::stdout(), "{}", imported.toml)?;
    Ok(ExitCode::SUCCESS)
}

/// An error and its causes, each once: many a message quotes its cause already.
fn with_causes(error: &anyhow::Error) -> String {
    let mut message = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !message.contains(&cause) {
            message = format!("{message}: {cause}");
        }
    }
    message
}

/// Files that the configuration names are part of it.
fn exit_code(error: &anyhow::Error) -> ExitCode {
    let tls = matches!(error.downcast_ref(), Some(ListenError::Tls { .. }));
    if tls
        || error.is::<TlsError>()
        || error.is::<BadFile>()
        || error.is::<KeysError>()
        || error.is::<ImportError>()
    {
        ExitCode::from(EXIT_CONFIG)
    } else {
        ExitCode::FAILURE
    }
}

fn with_settings(
    settings: Result<Settings, ConfigError>,
    work: impl FnOnce(Settings) -> anyhow::Result<()>,
) -> anyhow::Result<ExitCode> {
    match settings {
        Ok(settings) => work(settings).map(|()| ExitCode::SUCCESS),
        Err(error) => Ok(fail(&error.to_string(), ExitCode::from(EXIT_CONFIG))),
    }
}

fn fail(message: &str, code: ExitCode) -> ExitCode {
    // Nobody is left to tell if standard error is closed.
    let _ = writeln!(io::stderr(), "quelea: {message}");
    code
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cause_is_told_once() {
        let quoted = anyhow::anyhow!("no such file").context("cannot read server.pem: no such file");
        assert_eq!(with_causes(&quoted), "cannot read server.pem: no such file");
        let silent = anyhow::anyhow!("no such file").context("cannot read server.pem");
        assert_eq!(with_causes(&silent), "cannot read server.pem: no such file");
    }
}
