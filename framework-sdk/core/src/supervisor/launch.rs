//! A group's description, made into a task.

use mezzo_api::v1;

use super::{group::Group, slot::Task};

/// The task as it is sent: ids, resources, ports and environment filled in.
pub(super) fn task_info(group: &Group, slot: u32, task: &Task, resources: Vec<v1::Resource>) -> v1::TaskInfo {
    let mut info = group.task.clone();
    info.task_id = task.task_id();
    info.agent_id = task.agent_id();
    info.resources = resources;
    if info.name.is_empty() {
        info.name.clone_from(&group.name);
    }
    if let Some(command) = &mut info.command {
        let environment = command.environment.get_or_insert_default();
        let mut set = |name: &str, value: String| {
            environment.variables.push(v1::environment::Variable {
                name: name.to_owned(),
                value: Some(value),
                ..Default::default()
            });
        };
        set("MEZZO_GROUP", group.name.clone());
        set("MEZZO_SLOT", slot.to_string());
        set("HOST", task.place.hostname.clone());
        for (number, port) in task.ports.iter().enumerate() {
            if number == 0 {
                set("PORT", port.to_string());
            }
            set(&format!("PORT{number}"), port.to_string());
        }
    }
    fill_ports(&mut info, &task.ports);
    info
}

/// Puts the chosen ports where the description has 0.
fn fill_ports(info: &mut v1::TaskInfo, ports: &[u16]) {
    let first = ports.first().copied().map(u32::from);
    if let (Some(check), Some(port)) = (&mut info.health_check, first) {
        let http = check.http.iter_mut().map(|http| &mut http.port);
        let tcp = check.tcp.iter_mut().map(|tcp| &mut tcp.port);
        http.chain(tcp).filter(|asked| **asked == 0).for_each(|asked| *asked = port);
    }
    let asked = info.discovery.iter_mut().flat_map(|discovery| &mut discovery.ports).flat_map(|ports| &mut ports.ports);
    let open = asked.filter(|port| port.number == 0);
    open.zip(ports).for_each(|(asked, port)| asked.number = u32::from(*port));
}
