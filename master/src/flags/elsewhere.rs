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
        ("http_authenticators", Some("basic")),
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
    only_default: &[
        ("allocator", "hierarchical"),
        ("authenticate_agents", "false"),
        ("authenticate_frameworks", "false"),
        ("authenticate_http_frameworks", "false"),
        ("authenticate_http_readonly", "false"),
        ("authenticate_http_readwrite", "false"),
        ("registry_strict", "false"),
    ],
    not_known: &[
        "acls",
        "credentials",
        "firewall_rules",
        "hooks",
        "http_framework_authenticators",
        "master_contender",
        "master_detector",
        "max_executors_per_agent",
        "modules",
        "modules_dir",
        "rate_limits",
        "weights",
    ],
};
