//! Flags of Mesos' master that Mezzo knows by name only (src/master/flags.cpp).

use mezzo_server::flags::Elsewhere;

pub(super) const ELSEWHERE: Elsewhere = Elsewhere {
    server: "master",
    old_names: &[
        ("authenticate", "authenticate_frameworks"),
        ("authenticate_http", "authenticate_http_readwrite"),
        ("authenticate_slaves", "authenticate_agents"),
        ("max_executors_per_slave", "max_executors_per_agent"),
        ("user_sorter", "role_sorter"),
    ],
    no_effect: &[
        ("authentication_v0_timeout", Some("15secs")),
        ("authenticators", Some("crammd5")),
        ("authorizers", Some("local")),
        ("initialize_driver_logging", Some("true")),
        ("log_auto_initialize", Some("true")),
        ("logbufsecs", Some("0")),
        ("memory_profiling", Some("false")),
        ("offer_constraints_re2_max_mem", Some("4KB")),
        ("offer_constraints_re2_max_program_size", Some("100")),
        ("quorum", None),
        ("registry_fetch_timeout", Some("1mins")),
        ("registry_store_timeout", Some("20secs")),
        ("webui_dir", Some("built in")),
    ],
    only_default: &[("allocator", "hierarchical"), ("authenticate_frameworks", "false"), ("registry_strict", "false")],
    not_known: &[
        "acls",
        "firewall_rules",
        "hooks",
        "master_contender",
        "master_detector",
        "max_executors_per_agent",
        "modules",
        "modules_dir",
        "rate_limits",
        "weights",
    ],
};
