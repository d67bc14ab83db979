//! `hearken generate man|completions`: files that a package installs with the program.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::{Command, CommandFactory};
use clap_complete::Shell;

use super::{Cli, Outcome, Stop};
use crate::error::{Error, Result, Stage, io as io_error};
use crate::fs;
use crate::output::printable;

/// Write manual pages or shell completions.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  hearken generate completions bash > ~/.local/share/bash-completion/completions/hearken\n  \
    hearken generate man --out ~/.local/share/man/man1"
)]
pub(super) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Print the manual page of the program, or with --out write the pages of all commands.
    Man {
        /// Output folder for the pages of all commands.
        #[arg(short, long, value_name = "DIR")]
        out: Option<PathBuf>,
    },
    /// Print a script that completes commands and options in a shell.
    Completions {
        /// Shell.
        #[arg(value_enum)]
        shell: Shell,
    },
}

pub(super) fn run(args: &Args) -> std::result::Result<Outcome, Stop> {
    let mut command = Cli::command();
    command.build();
    match &args.what {
        What::Completions { shell } => {
            let mut text = Vec::new();
            clap_complete::generate(*shell, &mut command, "hearken", &mut text);
            print(&text)
        }
        What::Man { out: None } => print(&page(&command)?),
        What::Man { out: Some(folder) } => {
            std::fs::create_dir_all(folder).map_err(|e| io_error(Stage::Output, folder, e))?;
            let mut lines = String::new();
            for command in with_subcommands(&command) {
                let name = command.get_display_name().unwrap_or(command.get_name()).replace(' ', "-");
                let path = folder.join(format!("{name}.1"));
                fs::write(&path, &page(&command)?).map_err(|e| io_error(Stage::Output, &path, e))?;
                lines.push_str(&printable(&fs::quoted(&path)));
                lines.push('\n');
            }
            print(lines.as_bytes())
        }
    }
}

fn print(text: &[u8]) -> std::result::Result<Outcome, Stop> {
    let mut out = io::stdout().lock();
    let written = out.write_all(text).and_then(|()| out.flush());
    written.map_err(|e| Stop::output(Path::new("standard output"), e))?;
    Ok(Outcome::Done)
}

/// Renders the manual page of a command.
fn page(command: &Command) -> Result<Vec<u8>> {
    let mut text = Vec::new();
    let page = clap_mangen::Man::new(command.clone());
    page.render(&mut text)
        .map_err(|e| Error::new(Stage::Output, format!("cannot render a manual page: {e}")))?;
    Ok(text)
}

/// A command and all its subcommands, recursively.
fn with_subcommands(command: &Command) -> Vec<Command> {
    let below =
        command.get_subcommands().filter(|command| command.get_name() != "help" && !command.is_hide_set());
    let below: Vec<Command> = below.flat_map(with_subcommands).collect();
    [vec![command.clone()], below].concat()
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::*;

    #[test]
    fn every_command_has_a_page_and_every_shell_its_completions() {
        let mut command = Cli::command();
        command.build();
        let names: Vec<String> = with_subcommands(&command)
            .iter()
            .map(|command| command.get_display_name().unwrap_or(command.get_name()).to_string())
            .collect();
        assert!(
            names.contains(&"hearken".into()) && names.contains(&"hearken-transcribe".into()),
            "{names:?}"
        );
        for command in with_subcommands(&command) {
            let text = String::from_utf8(page(&command).expect("a page")).expect("UTF-8");
            assert!(text.contains(".SH NAME") && text.contains(".SH SYNOPSIS"), "{text}");
        }
        for shell in Shell::value_variants() {
            let mut text = Vec::new();
            clap_complete::generate(*shell, &mut command, "hearken", &mut text);
            assert!(String::from_utf8_lossy(&text).contains("transcribe"), "{shell}");
        }
    }
}
