"""What pymesos' own users do with it, against a real master: pymesos_scheduler.py MASTER SCENARIO.

Exits with 0 when the scenario went as it must; says what went otherwise, and exits with 1, when it did not.
"""

import base64
import os
import sys
import threading
import time

from pymesos import MesosSchedulerDriver, Scheduler

PATIENCE = 60.0
TERMINAL = ("TASK_FINISHED", "TASK_FAILED", "TASK_KILLED", "TASK_LOST", "TASK_ERROR")
EXECUTOR = os.path.join(os.path.dirname(os.path.abspath(__file__)), "pymesos_executor.py")


def resources(cpus=0.1, mem=16):
    return [dict(name="cpus", type="SCALAR", scalar=dict(value=cpus)),
            dict(name="mem", type="SCALAR", scalar=dict(value=mem))]


def amount(offer, name):
    return sum(r["scalar"]["value"] for r in offer["resources"] if r["name"] == name)


class Recorder(Scheduler):
    """Keeps what comes, and lets others wait for it."""

    def __init__(self, on_offers=None):
        self.changed = threading.Condition()
        self.offers, self.statuses, self.messages = [], {}, []
        self.framework_id, self.reregistrations, self.failures = None, 0, []
        self.on_offers = on_offers

    def _note(self, change):
        with self.changed:
            change()
            self.changed.notify_all()

    def registered(self, driver, framework_id, master_info):
        self._note(lambda: setattr(self, "framework_id", framework_id["value"]))

    def reregistered(self, driver, master_info):
        self._note(lambda: setattr(self, "reregistrations", self.reregistrations + 1))

    def resourceOffers(self, driver, offers):
        if self.on_offers:
            offers = self.on_offers(driver, offers) or []
        self._note(lambda: self.offers.extend(offers))

    def offerRescinded(self, driver, offer_id):
        self._note(lambda: self.offers.__setitem__(slice(None), [o for o in self.offers if o["id"] != offer_id]))

    def statusUpdate(self, driver, status):
        self._note(lambda: self.statuses.setdefault(status["task_id"]["value"], []).append(status))

    def frameworkMessage(self, driver, executor_id, agent_id, message):
        self._note(lambda: self.messages.append(base64.b64decode(message)))

    def error(self, driver, message):
        self._note(lambda: self.failures.append(message))

    def wait(self, what, condition):
        end = time.monotonic() + PATIENCE
        with self.changed:
            while not condition():
                left = end - time.monotonic()
                if left <= 0 or self.failures:
                    states = {task: [s["state"] for s in seen] for task, seen in self.statuses.items()}
                    sys.exit("waited in vain for %s; errors: %s; offers: %d; tasks: %s" % (what, self.failures, len(self.offers), states))
                self.changed.wait(left)

    def take_offer(self, what="an offer"):
        self.wait(what, lambda: self.offers)
        with self.changed:
            return self.offers.pop()

    def state(self, task):
        seen = self.statuses.get(task)
        return seen[-1]["state"] if seen else None


def framework(name, **more):
    return dict(user="root", name=name, **more)


def connect(scheduler, master, info, **more):
    driver = MesosSchedulerDriver(scheduler, info, master, **more)
    driver.start()
    return driver


def leave(driver, **more):
    driver.stop(**more)
    driver.join()


def task_info(task, offer, command):
    return dict(name=task, task_id=dict(value=task), agent_id=offer["agent_id"], resources=resources(), command=dict(value=command))


def check(holds, what):
    if not holds:
        sys.exit(what)


def tasks(master, count=200):
    """Tasks on two agents: every one finishes."""
    left = ["task-%d" % n for n in range(count)]
    agents = set()

    def launch(driver, offers):
        for offer in offers:
            fit = min(int(amount(offer, "cpus") / 0.1 + 1e-6), int(amount(offer, "mem") / 16))
            chosen = [left.pop() for _ in range(min(fit, len(left)))]
            if not chosen:
                driver.declineOffer(offer["id"], filters=dict(refuse_seconds=3600.0))
                continue
            agents.add(offer["agent_id"]["value"])
            driver.launchTasks(offer["id"], [task_info(task, offer, "true") for task in chosen], filters=dict(refuse_seconds=0.0))

    recorder = Recorder(launch)
    driver = connect(recorder, master, framework("pymesos-tasks"))
    recorder.wait("all tasks to end", lambda: sum(s[-1]["state"] in TERMINAL for s in recorder.statuses.values()) == count)
    bad = {task: seen[-1] for task, seen in recorder.statuses.items() if seen[-1]["state"] != "TASK_FINISHED"}
    check(not bad, "not finished: %s" % bad)
    check(len(agents) == 2, "tasks ran on %d agents" % len(agents))
    for task, seen in recorder.statuses.items():
        order = [s["state"] for s in seen]
        check(order == ["TASK_STARTING", "TASK_RUNNING", "TASK_FINISHED"], "%s: %s" % (task, order))
    leave(driver)


def kill(master):
    """A task that would run for ever is killed; an unknown one is answered."""
    recorder = Recorder()
    driver = connect(recorder, master, framework("pymesos-kill"))
    offer = recorder.take_offer()
    driver.launchTasks(offer["id"], [task_info("long", offer, "sleep 1000")], filters=dict(refuse_seconds=0.0))
    recorder.wait("the task to run", lambda: recorder.state("long") == "TASK_RUNNING")
    driver.killTask(dict(value="long"))
    recorder.wait("the task to be killed", lambda: recorder.state("long") == "TASK_KILLED")
    driver.killTask(dict(value="nobody"))
    recorder.wait("an answer for an unknown task", lambda: recorder.state("nobody") == "TASK_LOST")
    leave(driver)


def reconcile(master):
    """What is asked for is answered, known or not."""
    recorder = Recorder()
    driver = connect(recorder, master, framework("pymesos-reconcile"))
    offer = recorder.take_offer()
    driver.launchTasks(offer["id"], [task_info("known", offer, "sleep 1000")], filters=dict(refuse_seconds=0.0))
    recorder.wait("the task to run", lambda: recorder.state("known") == "TASK_RUNNING")
    reconciled = lambda task: any(s.get("reason") == "REASON_RECONCILIATION" for s in recorder.statuses.get(task, []))
    driver.reconcileTasks([dict(task_id=dict(value="known")), dict(task_id=dict(value="nobody"))])
    recorder.wait("explicit answers", lambda: reconciled("known") and reconciled("nobody"))
    check(recorder.state("known") == "TASK_RUNNING" and recorder.state("nobody") == "TASK_LOST", "wrong answers")
    recorder.statuses.clear()
    driver.reconcileTasks([])
    recorder.wait("an implicit answer", lambda: reconciled("known"))
    check(list(recorder.statuses) == ["known"], "implicit reconciliation named %s" % list(recorder.statuses))
    leave(driver)


def failover(master):
    """Another scheduler takes over under the same id; the task never notices."""
    first = Recorder()
    driver = connect(first, master, framework("pymesos-failover", failover_timeout=3600.0, checkpoint=True), failover=True)
    offer = first.take_offer()
    driver.launchTasks(offer["id"], [task_info("lives", offer, "sleep 1000")], filters=dict(refuse_seconds=0.0))
    first.wait("the task to run", lambda: first.state("lives") == "TASK_RUNNING")
    driver.stop(failover=True)
    driver.join()
    second = Recorder()
    info = framework("pymesos-failover", failover_timeout=3600.0, checkpoint=True, id=dict(value=first.framework_id))
    driver = connect(second, master, info)
    second.wait("the second scheduler to be subscribed", lambda: second.framework_id or second.reregistrations)
    driver.reconcileTasks([dict(task_id=dict(value="lives"))])
    second.wait("the task to be known", lambda: second.state("lives") == "TASK_RUNNING")
    driver.killTask(dict(value="lives"))
    second.wait("the task to be killed", lambda: second.state("lives") == "TASK_KILLED")
    leave(driver)


def volume(master):
    """It reserves, makes a volume, writes to it and dies; another comes back under its id and finds the data."""
    reservation = [dict(type="DYNAMIC", role="keep")]
    disk = lambda: dict(name="disk", type="SCALAR", scalar=dict(value=32), reservations=reservation)
    data = lambda: dict(disk(), disk=dict(persistence=dict(id="v"), volume=dict(container_path="data", mode="RW")))
    is_ours = lambda offer: any(r.get("disk", {}).get("persistence", {}).get("id") == "v" for r in offer["resources"])
    on_volume = lambda name, offer, command: dict(task_info(name, offer, command), resources=resources() + [data()])
    info = lambda **more: framework("pymesos-volume", roles=["keep"], failover_timeout=3600.0, checkpoint=True,
                                    capabilities=[dict(type="MULTI_ROLE"), dict(type="RESERVATION_REFINEMENT")], **more)
    first = Recorder()
    driver = connect(first, master, info(), failover=True)
    offer = first.take_offer()
    driver.acceptOffers(offer["id"], [
        dict(type="RESERVE", reserve=dict(resources=[disk()])),
        dict(type="CREATE", create=dict(volumes=[data()])),
        dict(type="LAUNCH", launch=dict(task_infos=[on_volume("write", offer, "echo here > data/f")])),
    ], filters=dict(refuse_seconds=0.0))
    first.wait("the data to be written", lambda: first.state("write") == "TASK_FINISHED")
    driver.stop(failover=True)
    driver.join()
    found = []

    def look(driver, offers):
        for offer in offers:
            if is_ours(offer) and not found:
                found.append(offer)
                driver.launchTasks(offer["id"], [on_volume("read", offer, 'test "$(cat data/f)" = here')], filters=dict(refuse_seconds=0.0))
            else:
                driver.declineOffer(offer["id"], filters=dict(refuse_seconds=1.0))

    second = Recorder(look)
    driver = connect(second, master, info(id=dict(value=first.framework_id)))
    second.wait("the data to be read", lambda: second.state("read") in TERMINAL)
    check(second.state("read") == "TASK_FINISHED", "the data are not there: %s" % second.statuses["read"])
    leave(driver)


def decline(master):
    """Declined for long: no offer comes back until it is asked for."""
    declined = []

    def refuse(driver, offers):
        declined.extend(offers)
        for offer in offers:
            driver.declineOffer(offer["id"], filters=dict(refuse_seconds=3600.0))

    recorder = Recorder(refuse)
    driver = connect(recorder, master, framework("pymesos-decline"))
    recorder.wait("offers of both agents", lambda: len({o["agent_id"]["value"] for o in declined}) == 2)
    count = len(declined)
    time.sleep(2.0)
    check(len(declined) == count, "%d offers came within their filter" % (len(declined) - count))
    driver.reviveOffers()
    recorder.wait("offers after REVIVE", lambda: len(declined) >= count + 2)
    leave(driver)


def suppress(master):
    """No offers while suppressed, all of them after a revival."""
    recorder = Recorder()
    driver = connect(recorder, master, framework("pymesos-suppress"))
    recorder.wait("offers of both agents", lambda: len(recorder.offers) >= 2)
    driver.suppressOffers()
    offers, recorder.offers[:] = list(recorder.offers), []
    driver.declineOffer([offer["id"] for offer in offers], filters=dict(refuse_seconds=0.0))
    time.sleep(2.0)
    check(not recorder.offers, "%d offers came while suppressed" % len(recorder.offers))
    driver.reviveOffers()
    recorder.wait("offers after REVIVE", lambda: len(recorder.offers) >= 2)
    leave(driver)


def executor(master, count=200):
    """Tasks of a custom executor, itself on pymesos: they finish, are killed, and messages go both ways."""
    command = "exec %s %s" % (sys.executable, EXECUTOR)
    info = lambda: dict(executor_id=dict(value="python"), framework_id=dict(value=recorder.framework_id), name="python",
                        command=dict(value=command, environment=dict(variables=[dict(name="PYTHONDONTWRITEBYTECODE", value="1")])),
                        resources=resources(0.1, 64))
    task = lambda name, offer, data: dict(name=name, task_id=dict(value=name), agent_id=offer["agent_id"], resources=resources(0.01, 1),
                                          executor=info(), data=base64.b64encode(data).decode())
    left = ["task-%d" % n for n in range(count)]

    def launch(driver, offers):
        kept = []
        for offer in offers:
            fit = min(int((amount(offer, "cpus") - 0.2) / 0.01), int(amount(offer, "mem") - 128))
            chosen = [left.pop() for _ in range(min(fit, len(left), count // 2))]
            if chosen:
                driver.launchTasks(offer["id"], [task(name, offer, b"finish") for name in chosen], filters=dict(refuse_seconds=0.0))
            else:
                kept.append(offer)
        return kept

    recorder = Recorder(launch)
    driver = connect(recorder, master, framework("pymesos-executor"))
    ended = lambda: sum(recorder.state("task-%d" % n) in TERMINAL for n in range(count))
    recorder.wait("all tasks to end", lambda: ended() == count)
    bad = {name: seen[-1] for name, seen in recorder.statuses.items() if seen[-1]["state"] != "TASK_FINISHED"}
    check(not bad, "not finished: %s" % bad)
    agents = {seen[-1]["agent_id"]["value"] for seen in recorder.statuses.values()}
    check(len(agents) == 2, "tasks ran on %d agents" % len(agents))
    recorder.wait("one more offer", lambda: recorder.offers)
    offer = recorder.take_offer()
    driver.launchTasks(offer["id"], [task("long", offer, b"stay")], filters=dict(refuse_seconds=0.0))
    recorder.wait("the task to run", lambda: recorder.state("long") == "TASK_RUNNING")
    driver.sendFrameworkMessage(dict(value="python"), offer["agent_id"], base64.b64encode(b"ping").decode())
    recorder.wait("the executor's answer", lambda: b"pong: ping" in recorder.messages)
    driver.killTask(dict(value="long"))
    recorder.wait("the task to be killed", lambda: recorder.state("long") == "TASK_KILLED")
    check(recorder.statuses["long"][-1].get("message") == "killed by request", "the executor's message is lost")
    leave(driver)


def authenticate(master):
    """A master that asks who is there."""
    recorder = Recorder()
    driver = connect(recorder, master, framework("pymesos-authenticate"), principal="ops", secret="open sesame")
    offer = recorder.take_offer()
    driver.launchTasks(offer["id"], [task_info("known", offer, "true")])
    recorder.wait("its task to finish", lambda: recorder.state("known") == "TASK_FINISHED")
    leave(driver)


SCENARIOS = dict(authenticate=authenticate, volume=volume, tasks=tasks, kill=kill, reconcile=reconcile, failover=failover, decline=decline, suppress=suppress, executor=executor)

if __name__ == "__main__":
    SCENARIOS[sys.argv[2]](sys.argv[1])
    print("%s: as it must be" % sys.argv[2])
