//! The binary `mezzo-master`.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    mezzo_master::main(std::env::args_os())
}
