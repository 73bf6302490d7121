//! mezzo-executor: the zygote and the task supervisor. Started by the agent, not by hand.

use std::process::ExitCode;

fn main() -> ExitCode {
    mezzo_executor::main(std::env::args_os().skip(1))
}
