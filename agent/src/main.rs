//! The binary `mezzo-agent`.

use std::process::ExitCode;

fn main() -> ExitCode {
    mezzo_agent::main(std::env::args_os())
}
