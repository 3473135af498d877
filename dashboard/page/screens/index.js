// Which screen a path is: #/NAME or #/NAME/...

import { Alerts } from './alerts.js';
import { DeadLetters } from './dead.js';
import { Http } from './http.js';
import { Job } from './job.js';
import { JobForm } from './jobform.js';
import { Jobs } from './jobs.js';
import { Now } from './now.js';
import { Queues } from './queues.js';
import { Run } from './run.js';
import { Runs } from './runs.js';
import { Secrets } from './secrets.js';
import { Upcoming } from './upcoming.js';
import { Workers } from './workers.js';
import { Workflows } from './workflows.js';

const BY_NAME = {
	now: Now, jobs: Jobs, runs: Runs, run: Run, workflows: Workflows, dead: DeadLetters, upcoming: Upcoming,
	queues: Queues, workers: Workers, http: Http, alerts: Alerts, secrets: Secrets,
};

export function screens([name = 'now', id, part]) {
	if (name === 'job')
		return id === 'new' || part === 'edit' ? JobForm : Job;
	return Object.hasOwn(BY_NAME, name) ? BY_NAME[name] : undefined;
}
