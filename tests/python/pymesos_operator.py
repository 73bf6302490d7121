"""pymesos' operator drivers, as an operator's script uses them: every call of the master's and of the agent's.

Arguments: the master's and the agent's host:port. Exits with 0 when everything went as it must; says what went otherwise."""

import sys
import time

from pymesos import MesosOperatorAgentDriver, MesosOperatorMasterDriver, MesosSchedulerDriver, OperatorMaster, Scheduler

PATIENCE = 60


def check(holds, what):
    if not holds:
        sys.exit(what)


def until(what, condition):
    deadline = time.time() + PATIENCE
    while not condition():
        check(time.time() < deadline, "waited in vain for " + what)
        time.sleep(0.05)


def refused(status, call, *arguments):
    try:
        call(*arguments)
    except RuntimeError as error:
        check("code=%d" % status in str(error), "%s: %s" % (call.__name__, error))
        return
    sys.exit("%s %r is taken" % (call.__name__, arguments))


class Events(OperatorMaster):
    def __init__(self):
        self.seen = []

    def __getattribute__(self, name):
        # The interface has one method for each event: each notes that it was called.
        if name in ("seen", "__class__") or name.startswith("__"):
            return object.__getattribute__(self, name)
        return lambda *arguments: self.seen.append(name)


class Stream(MesosOperatorMasterDriver):
    subscribed = None

    def on_subscribed(self, info):
        super().on_subscribed(info)
        self.subscribed = info


def both(driver):
    check(driver.getHealth()["get_health"]["healthy"] is True, "not healthy")
    flags = {flag["name"] for flag in driver.getFlags()["get_flags"]["flags"]}
    check("work_dir" in flags, "flags: %s" % flags)
    check(driver.getVersion()["get_version"]["version_info"]["version"].startswith("1."), "no version")
    metrics = {metric["name"] for metric in driver.getMetrics(5 * 10**9)["get_metrics"]["metrics"]}
    check("system/cpus_total" in metrics, "metrics: %s" % metrics)
    driver.setLoggingLevel(1, 2 * 10**9)
    check(driver.getLoggingLevel()["get_logging_level"]["level"] == 1, "the level is not set")
    until("the old level", lambda: driver.getLoggingLevel()["get_logging_level"]["level"] == 0)
    refused(404, driver.listFiles, "/nothing/there")
    check("get_state" in driver.getState(), "no state")
    for call, part in [(driver.getFrameworks, "get_frameworks"), (driver.getExecutors, "get_executors"), (driver.getTasks, "get_tasks")]:
        check(part in call(), part)


def reads(master):
    agents = master.getAgents()["get_agents"]["agents"]
    check(len(agents) == 1, "agents: %s" % agents)
    check("get_roles" in master.getRoles(), "no roles")
    check(master.getMaster()["get_master"]["master_info"]["port"] > 0, "no master")
    check("get_maintenance_status" in master.getMaintenanceStatus(), "no maintenance")
    return agents[0]["agent_info"]


def policy(master):
    master.updateWeights([dict(role="heavy", weight=2.5)])
    check(master.getWeights()["get_weights"]["weight_infos"] == [dict(weight=2.5, role="heavy")], "the weight is not there")
    refused(400, master.updateWeights, [dict(role="heavy", weight=-1)])
    guarantee = [dict(name="cpus", type="SCALAR", scalar=dict(value=1.0))]
    master.setQuota(dict(force=True, role="paid", guarantee=guarantee))
    configs = master.getQuota()["get_quota"]["status"]["configs"]
    check([config["role"] for config in configs] == ["paid"], "quota: %s" % configs)
    master.removeQuota("paid")
    refused(400, master.removeQuota, "paid")


def resources(master, agent):
    def disk(megabytes, **more):
        reservation = dict(type="DYNAMIC", role="keeps")
        return dict(name="disk", type="SCALAR", scalar=dict(value=float(megabytes)), reservations=[reservation], **more)

    agent_id = agent["id"]["value"]
    volume = disk(64, disk=dict(
        persistence=dict(id="kept", principal="none"), volume=dict(container_path="data", mode="RW")))
    master.reserveResources(agent_id, [disk(64)])
    master.createVolumes(agent_id, [volume])
    state = master.getAgents()["get_agents"]["agents"][0]
    check(any("persistence" in one.get("disk", {}) for one in state["total_resources"]), "no volume: %s" % state)
    master.destroyVolumes(agent_id, [volume])
    master.unreserveResources(agent_id, [disk(64)])
    refused(409, master.unreserveResources, agent_id, [disk(64)] * 2)
    refused(400, master.reserveResources, "nobody", [disk(64)])


def maintenance(master):
    machine = dict(hostname="elsewhere.example", ip="192.0.2.7")
    start = int(time.time() * 10**9)
    master.updateMaintenanceSchedule(
        [dict(machine_ids=[machine], unavailability=dict(start=dict(nanoseconds=start), duration=dict(nanoseconds=10**9)))])
    windows = master.getMaintenanceSchedule()["get_maintenance_schedule"]["schedule"]["windows"]
    check(windows[0]["machine_ids"] == [machine], "schedule: %s" % windows)
    master.startMaintenance([machine])
    master.stopMaintenance([machine])
    refused(400, master.stopMaintenance, [machine])


def events(address):
    recorder = Events()
    stream = Stream(address, recorder)
    stream.start()
    until("the state", lambda: stream.subscribed)
    check(len(stream.subscribed["get_state"]["get_agents"]["agents"]) == 1, "state: %s" % stream.subscribed)
    framework = MesosSchedulerDriver(Scheduler(), dict(user="root", name="watched"), address)
    framework.start()
    until("the framework", lambda: "frameworkAdded" in recorder.seen)
    framework.stop()
    until("its end", lambda: "frameworkRemoved" in recorder.seen)
    framework.join()
    stream.stop()
    stream.join()


def of_agent(agent):
    check("get_containers" in agent.getContainers(True, True), "no containers")
    agent.pruneImages()


def main(master_address, agent_address):
    master = MesosOperatorMasterDriver(master_address)
    agent = MesosOperatorAgentDriver(agent_address)
    both(master)
    both(agent)
    of_agent(agent)
    info = reads(master)
    events(master_address)
    policy(master)
    resources(master, info)
    maintenance(master)
    refused(404, master.markAgentGone, "nobody")
    master.markAgentGone(info["id"]["value"])
    until("the agent to be gone", lambda: not master.getAgents()["get_agents"].get("agents"))
    print("as it must be")


main(*sys.argv[1:])
