"""An executor on pymesos: a task whose data is `finish` ends at once, one whose data is `stay` runs until it is killed."""

import base64
import sys
import time

from pymesos import Executor, MesosExecutorDriver


class Answering(Executor):
    def __init__(self):
        self.running = set()

    def _update(self, driver, task, state, **more):
        driver.sendStatusUpdate(dict(task_id=dict(value=task), state=state, timestamp=time.time(), **more))

    def launchTask(self, driver, task):
        name = task["task_id"]["value"]
        self._update(driver, name, "TASK_RUNNING")
        if base64.b64decode(task["data"]) == b"finish":
            self._update(driver, name, "TASK_FINISHED")
        else:
            self.running.add(name)

    def killTask(self, driver, task_id):
        name = task_id["value"]
        if name in self.running:
            self.running.discard(name)
            self._update(driver, name, "TASK_KILLED", message="killed by request")

    def frameworkMessage(self, driver, message):
        driver.sendFrameworkMessage(base64.b64encode(b"pong: " + base64.b64decode(message)).decode())

    def shutdown(self, driver):
        for name in sorted(self.running):
            self._update(driver, name, "TASK_KILLED", message="shutdown")
        self.running.clear()


if __name__ == "__main__":
    MesosExecutorDriver(Answering()).run()
    sys.exit(0)
