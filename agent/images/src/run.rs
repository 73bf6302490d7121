//! What a launch makes of an image's configuration (apache/mesos,
//! src/slave/containerizer/mesos/isolators/docker/runtime.cpp; src/docker/docker.cpp, Docker::RunOptions).

use std::collections::BTreeMap;

use crate::manifest::RunConfig;

/// What comes of arguments without a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Without an entrypoint the program is the first word of the image's command, whatever arguments are given.
    Mesos,
    /// As `docker run image arguments`: without an entrypoint the program is the first argument.
    Docker,
}

/// There is nothing to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("No executable is found: neither the task nor the image names one")]
pub struct NoExecutable;

/// The program and its argv, for a task that names no program.
///
/// # Errors
/// If the image names none either.
pub fn program(config: &RunConfig, arguments: &[String], rule: Rule) -> Result<(String, Vec<String>), NoExecutable> {
    if rule == Rule::Mesos && config.entrypoint.is_empty() && config.cmd.is_empty() {
        return Err(NoExecutable);
    }
    let fixed = match (config.entrypoint.as_slice(), config.cmd.as_slice(), rule) {
        ([], [first, ..], Rule::Mesos) => std::slice::from_ref(first),
        (entrypoint, ..) => entrypoint,
    };
    let rest = match (arguments, rule) {
        ([], Rule::Mesos) if config.entrypoint.is_empty() => config.cmd.get(1..).unwrap_or_default(),
        ([], _) => &config.cmd,
        (given, _) => given,
    };
    let argv: Vec<String> = fixed.iter().chain(rest).cloned().collect();
    Ok((argv.first().ok_or(NoExecutable)?.clone(), argv))
}

/// The whole environment: the image's variables in the place of the agent's, what the task itself says (`own`) above
/// both. The image has no say in what the agent tells of the container.
pub fn environment(
    config: &RunConfig,
    given: Vec<(String, String)>,
    own: impl Fn(&str) -> bool,
) -> Vec<(String, String)> {
    let mut all: BTreeMap<String, String> = given.into_iter().collect();
    for variable in &config.environment {
        let Some((name, value)) = variable.split_once('=').filter(|(name, _)| !name.is_empty()) else { continue };
        let agents = name.starts_with("MESOS_") || name.starts_with("LIBPROCESS_");
        let said = own(name) || (agents && all.contains_key(name));
        if !said {
            all.insert(name.to_owned(), value.to_owned());
        }
    }
    all.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    fn ran(entrypoint: &str, cmd: &str, arguments: &str, rule: Rule) -> Option<String> {
        let config = RunConfig { entrypoint: words(entrypoint), cmd: words(cmd), ..RunConfig::default() };
        program(&config, &words(arguments), rule).ok().map(|(file, argv)| format!("{file}: {}", argv.join(" ")))
    }

    /// The rows of Mesos' table that are the image's affair (docs/container-image.md).
    #[test]
    fn the_program_is_found_as_mesos_finds_it() {
        let mesos = |entrypoint, cmd, arguments| ran(entrypoint, cmd, arguments, Rule::Mesos);
        assert_eq!(mesos("", "", ""), None);
        assert_eq!(mesos("", "c1 c2", "").as_deref(), Some("c1: c1 c2"));
        assert_eq!(mesos("e1 e2", "", "").as_deref(), Some("e1: e1 e2"));
        assert_eq!(mesos("e1 e2", "c1 c2", "").as_deref(), Some("e1: e1 e2 c1 c2"));
        assert_eq!(mesos("", "", "a1 a2"), None);
        assert_eq!(mesos("", "c1 c2", "a1 a2").as_deref(), Some("c1: c1 a1 a2"));
        assert_eq!(mesos("e1 e2", "", "a1 a2").as_deref(), Some("e1: e1 e2 a1 a2"));
        assert_eq!(mesos("e1 e2", "c1 c2", "a1 a2").as_deref(), Some("e1: e1 e2 a1 a2"));
    }

    #[test]
    fn the_program_is_found_as_docker_finds_it() {
        let docker = |entrypoint, cmd, arguments| ran(entrypoint, cmd, arguments, Rule::Docker);
        assert_eq!(docker("", "", ""), None);
        assert_eq!(docker("", "c1 c2", "").as_deref(), Some("c1: c1 c2"));
        assert_eq!(docker("", "c1 c2", "a1 a2").as_deref(), Some("a1: a1 a2"));
        assert_eq!(docker("e1", "c1 c2", "a1").as_deref(), Some("e1: e1 a1"));
        assert_eq!(docker("e1", "c1 c2", "").as_deref(), Some("e1: e1 c1 c2"));
    }

    #[test]
    fn the_task_has_the_last_word_on_variables_and_the_agent_on_its_own() {
        let environment_of = words("PATH=/image A=image B=image MESOS_SANDBOX=/evil MESOS_X=1 broken =x");
        let config = RunConfig { environment: environment_of, ..RunConfig::default() };
        let given = [("PATH", "/agent"), ("A", "task"), ("MESOS_SANDBOX", "/s")];
        let given = given.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        let all: BTreeMap<_, _> = environment(&config, given, |name| name == "A").into_iter().collect();
        let value = |name: &str| all.get(name).map(String::as_str);
        assert_eq!((value("PATH"), value("A"), value("B")), (Some("/image"), Some("task"), Some("image")));
        assert_eq!((value("MESOS_SANDBOX"), value("MESOS_X"), all.len()), (Some("/s"), Some("1"), 5));
    }
}
