/*
 * wishlist_alerts: tell a shop's customers when something on their wishlist
 * goes on sale or is back in stock.
 *
 *	wishlist-sale-check		every hour			sales since the last notice
 *	wishlist-stock-check	every half hour		restocked since the last notice
 *	wishlist-notify			triggered			one notification by HTTP
 *
 * Plain SQL for any client; safe to run again.  Whoever runs it owns the
 * tables and the jobs and needs USAGE on schema jobsched; to notify by HTTP, or
 * tell people of failures by mail, also EXECUTE on function jobsched.http_request.
 */
CREATE EXTENSION IF NOT EXISTS jobsched;

BEGIN;

CREATE SCHEMA IF NOT EXISTS wishlist;

-- Tables

CREATE TABLE IF NOT EXISTS wishlist.customers (
	customer_id integer PRIMARY KEY,
	name text NOT NULL,
	email text
);

CREATE TABLE IF NOT EXISTS wishlist.products (
	product_id integer PRIMARY KEY,
	name text NOT NULL,
	list_price numeric(10,2) NOT NULL CHECK (list_price > 0),
	sale_price numeric(10,2) CHECK (sale_price < list_price),
	stock integer NOT NULL CHECK (stock >= 0),
	-- kept by a trigger: since when, NULL if it is not
	on_sale_since timestamptz,
	in_stock_since timestamptz
);

CREATE TABLE IF NOT EXISTS wishlist.items (
	customer_id integer REFERENCES wishlist.customers ON DELETE CASCADE,
	product_id integer REFERENCES wishlist.products ON DELETE CASCADE,
	added_at timestamptz NOT NULL DEFAULT now(),
	PRIMARY KEY (customer_id, product_id)
);
CREATE INDEX IF NOT EXISTS items_product ON wishlist.items (product_id);

-- The last sale or restocking that the customer was told about.
CREATE TABLE IF NOT EXISTS wishlist.notices (
	customer_id integer,
	product_id integer,
	kind text CHECK (kind IN ('sale', 'stock')),
	event_at timestamptz NOT NULL,
	PRIMARY KEY (customer_id, product_id, kind),
	FOREIGN KEY (customer_id, product_id) REFERENCES wishlist.items ON DELETE CASCADE
);

-- What is to be sent.
CREATE TABLE IF NOT EXISTS wishlist.notifications (
	notification_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	customer_id integer NOT NULL REFERENCES wishlist.customers ON DELETE CASCADE,
	product_id integer NOT NULL REFERENCES wishlist.products ON DELETE CASCADE,
	kind text NOT NULL CHECK (kind IN ('sale', 'stock')),
	event_at timestamptz NOT NULL,
	address text NOT NULL CONSTRAINT address_is_email CHECK (address ~ '^[^@\s]+@[^@\s]+\.[^@\s]+$'),
	message text NOT NULL,
	run_id bigint,
	created_at timestamptz NOT NULL DEFAULT now(),
	delivered_at timestamptz,
	UNIQUE (customer_id, product_id, kind, event_at)
);

-- What could not be delivered.  Its item is due again.
CREATE TABLE IF NOT EXISTS wishlist.undelivered (
	notification_id bigint PRIMARY KEY,
	customer_id integer NOT NULL,
	product_id integer NOT NULL,
	kind text NOT NULL,
	address text NOT NULL,
	message text NOT NULL,
	run_id bigint,
	error text,
	failed_at timestamptz NOT NULL DEFAULT now()
);

-- Where notifications go.  One row; without an address they stay in the table,
-- from which whatever sends them reads.
CREATE TABLE IF NOT EXISTS wishlist.delivery (
	one boolean PRIMARY KEY DEFAULT true CHECK (one),
	url text
);
INSERT INTO wishlist.delivery DEFAULT VALUES
ON CONFLICT DO NOTHING;

-- Who has a mail when a check fails or does not begin, or a notification cannot be
-- delivered.  One row; without addresses nobody has.
CREATE TABLE IF NOT EXISTS wishlist.watch (
	one boolean PRIMARY KEY DEFAULT true CHECK (one),
	mail_to text[],
	-- what happens in this time is one mail
	alert_delay interval NOT NULL DEFAULT '30 s'
);
INSERT INTO wishlist.watch DEFAULT VALUES
ON CONFLICT DO NOTHING;

-- Which of the jobs run: UPDATE ... SET enabled = false turns one off.
CREATE TABLE IF NOT EXISTS wishlist.settings (
	job_name text PRIMARY KEY,
	enabled boolean NOT NULL
);
INSERT INTO wishlist.settings VALUES ('wishlist-sale-check', true), ('wishlist-stock-check', true)
ON CONFLICT DO NOTHING;

CREATE OR REPLACE FUNCTION wishlist.apply_setting() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	PERFORM jobsched.alter_job(job => NEW.job_name, enabled => NEW.enabled);
	RETURN NULL;
END $$;

CREATE OR REPLACE TRIGGER apply_setting AFTER UPDATE OF enabled ON wishlist.settings
FOR EACH ROW EXECUTE FUNCTION wishlist.apply_setting();

-- What happens to products

CREATE OR REPLACE FUNCTION wishlist.note_changes() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	IF NEW.sale_price IS NULL THEN
		NEW.on_sale_since := NULL;
	ELSIF NEW.on_sale_since IS NULL THEN
		NEW.on_sale_since := now();
	END IF;
	IF NEW.stock = 0 THEN
		NEW.in_stock_since := NULL;
	ELSIF NEW.in_stock_since IS NULL THEN
		NEW.in_stock_since := now();
	END IF;
	RETURN NEW;
END $$;

CREATE OR REPLACE TRIGGER note_changes BEFORE INSERT OR UPDATE ON wishlist.products
FOR EACH ROW EXECUTE FUNCTION wishlist.note_changes();

-- Items whose product went on sale, or came back, after they were put on the
-- list, and whose customer has not been told yet.
CREATE OR REPLACE VIEW wishlist.due_items AS
SELECT e.kind, i.customer_id, i.product_id, e.event_at, c.email, c.name AS customer,
	p.name AS product, p.list_price, p.sale_price
FROM wishlist.items i
	JOIN wishlist.products p ON p.product_id = i.product_id
	JOIN wishlist.customers c ON c.customer_id = i.customer_id
	CROSS JOIN LATERAL (VALUES ('sale', p.on_sale_since), ('stock', p.in_stock_since)) AS e(kind, event_at)
	LEFT JOIN wishlist.notices n
		ON n.customer_id = i.customer_id AND n.product_id = i.product_id AND n.kind = e.kind
WHERE e.event_at > i.added_at AND n.event_at IS DISTINCT FROM e.event_at;

-- Notices

-- Delivers one notice: into the table, and from there by HTTP if there is an
-- address for that.  The request is made if and only if the notice is kept.
CREATE OR REPLACE FUNCTION wishlist.deliver(item wishlist.due_items) RETURNS void
LANGUAGE plpgsql SET search_path = wishlist, pg_temp AS $$
DECLARE
	written notifications;
BEGIN
	IF item.email IS NULL THEN
		RAISE EXCEPTION 'customer % has no address', item.customer_id
			USING ERRCODE = 'null_value_not_allowed';
	END IF;
	INSERT INTO notifications (customer_id, product_id, kind, event_at, address, message, run_id)
	VALUES (item.customer_id, item.product_id, item.kind, item.event_at, item.email,
		CASE item.kind
			WHEN 'sale' THEN format('%s, %s is on sale: %s instead of %s.',
				item.customer, item.product, item.sale_price, item.list_price)
			ELSE format('%s, %s is back in stock.', item.customer, item.product)
		END,
		jobsched.run_id())
	RETURNING * INTO written;
	IF EXISTS (SELECT FROM delivery d WHERE d.url IS NOT NULL) THEN
		PERFORM jobsched.trigger('wishlist-notify',
			jsonb_build_object('notification_id', written.notification_id, 'address', written.address,
				'message', written.message));
	END IF;
END $$;

-- The request for a notification has succeeded.
CREATE OR REPLACE FUNCTION wishlist.note_delivery(response jsonb) RETURNS void
LANGUAGE sql SET search_path = wishlist, pg_temp
BEGIN ATOMIC
	UPDATE wishlist.notifications SET delivered_at = now()
	WHERE notification_id = (response->'args'->>'notification_id')::bigint;
END;

-- It has failed, in spite of all attempts: the next check takes the item up
-- again.
CREATE OR REPLACE FUNCTION wishlist.take_back(response jsonb) RETURNS void
LANGUAGE plpgsql SET search_path = wishlist, pg_temp AS $$
DECLARE
	failed notifications;
BEGIN
	DELETE FROM notifications n
	WHERE n.notification_id = (response->'args'->>'notification_id')::bigint AND n.delivered_at IS NULL
	RETURNING * INTO failed;
	IF NOT FOUND THEN
		RETURN;
	END IF;
	INSERT INTO undelivered (notification_id, customer_id, product_id, kind, address, message, run_id, error)
	VALUES (failed.notification_id, failed.customer_id, failed.product_id, failed.kind, failed.address,
		failed.message, failed.run_id, coalesce(response->>'error', response->>'status'));
	DELETE FROM notices n
	WHERE n.customer_id = failed.customer_id AND n.product_id = failed.product_id
		AND n.kind = failed.kind AND n.event_at = failed.event_at;
	PERFORM jobsched.log('warning', format('customer %s, product %s: %s', failed.customer_id, failed.product_id,
		coalesce(response->>'error', response->>'status')));
END $$;

-- What became of the notifications of each check.
CREATE OR REPLACE VIEW wishlist.deliveries AS
SELECT x.run_id, count(*) FILTER (WHERE x.outcome = 'delivered') AS delivered,
	count(*) FILTER (WHERE x.outcome = 'waiting') AS waiting,
	count(*) FILTER (WHERE x.outcome = 'failed') AS failed
FROM (SELECT n.run_id, CASE WHEN n.delivered_at IS NULL THEN 'waiting' ELSE 'delivered' END AS outcome
		FROM wishlist.notifications n
	UNION ALL SELECT u.run_id, 'failed' FROM wishlist.undelivered u) x
GROUP BY x.run_id;

-- Tells a customer, unless another run has just done so.
CREATE OR REPLACE FUNCTION wishlist.notify(item wishlist.due_items) RETURNS boolean
LANGUAGE plpgsql SET search_path = wishlist, pg_temp AS $$
BEGIN
	INSERT INTO notices AS n (customer_id, product_id, kind, event_at)
	VALUES (item.customer_id, item.product_id, item.kind, item.event_at)
	ON CONFLICT (customer_id, product_id, kind) DO UPDATE SET event_at = excluded.event_at
		WHERE n.event_at <> excluded.event_at;
	IF NOT FOUND THEN
		RETURN false;
	END IF;
	PERFORM deliver(item);
	RETURN true;
END $$;

-- Tells all whose items are due, in batches (args: batch_size, default 500).
-- A batch goes through at once; if one of its items fails, the batch is
-- repeated item by item, so that only the failing one is left out.  It stays
-- due: the next run takes it up again.
CREATE OR REPLACE FUNCTION wishlist.check_items(check_kind text, args jsonb) RETURNS jsonb
LANGUAGE plpgsql SET search_path = wishlist, pg_temp AS $$
DECLARE
	batch_size integer := coalesce((args->>'batch_size')::integer, 500);
	total bigint;
	checked bigint := 0;
	notified bigint := 0;
	errors bigint := 0;
	told bigint;
	batch due_items[];
	item due_items;
	last_customer integer := -2147483648;
	last_product integer := -2147483648;
BEGIN
	IF batch_size < 1 THEN
		RAISE EXCEPTION 'batch_size must be greater than zero'
			USING ERRCODE = 'invalid_parameter_value';
	END IF;
	SELECT count(*) INTO total FROM due_items d WHERE d.kind = check_kind;

	LOOP
		batch := ARRAY(
			SELECT d
			FROM due_items d
			WHERE d.kind = check_kind AND (d.customer_id, d.product_id) > (last_customer, last_product)
			ORDER BY d.customer_id, d.product_id
			LIMIT batch_size);
		EXIT WHEN cardinality(batch) = 0;

		BEGIN
			SELECT count(*) FILTER (WHERE notify(b)) INTO told FROM unnest(batch) AS b;
			notified := notified + told;
		EXCEPTION WHEN OTHERS THEN
			FOREACH item IN ARRAY batch LOOP
				BEGIN
					IF notify(item) THEN
						notified := notified + 1;
					END IF;
				EXCEPTION WHEN OTHERS THEN
					errors := errors + 1;
					PERFORM jobsched.log('warning', format('customer %s, product %s: %s (%s)',
						item.customer_id, item.product_id, sqlerrm, sqlstate));
				END;
			END LOOP;
		END;

		checked := checked + cardinality(batch);
		last_customer := batch[cardinality(batch)].customer_id;
		last_product := batch[cardinality(batch)].product_id;
		PERFORM jobsched.progress(checked, greatest(total, checked), format('%s notified, %s errors', notified, errors));
	END LOOP;

	RETURN jsonb_build_object('checked', checked, 'notified', notified, 'errors', errors);
END $$;

-- Handlers

CREATE OR REPLACE FUNCTION wishlist.sale_check(args jsonb DEFAULT '{}') RETURNS jsonb
LANGUAGE sql VOLATILE SET search_path = wishlist, pg_temp
RETURN wishlist.check_items('sale', args);

CREATE OR REPLACE FUNCTION wishlist.stock_check(args jsonb DEFAULT '{}') RETURNS jsonb
LANGUAGE sql VOLATILE SET search_path = wishlist, pg_temp
RETURN wishlist.check_items('stock', args);

-- Watching

-- The jobs: whether each is on, what it did last, when it comes next.
CREATE OR REPLACE VIEW wishlist.status AS
SELECT j.name, s.enabled, j.state, j.timezone, j.last_status, j.last_started_at, j.last_duration, r.result AS last_result, j.next_run_at
FROM wishlist.settings s
	JOIN jobsched.jobs j ON j.name = s.job_name AND j.owner = current_user
	LEFT JOIN jobsched.runs r ON r.run_id = (SELECT max(l.run_id) FROM jobsched.runs l
		WHERE l.job_id = j.job_id AND l.status = 'succeeded');

-- The log, newest first: what each check did, how long it took, what was wrong.
CREATE OR REPLACE VIEW wishlist.log AS
SELECT r.run_id, r.job_name, r.source, r.status, (r.result->>'checked')::bigint AS checked, (r.result->>'notified')::bigint AS notified,
	(r.result->>'errors')::bigint AS errors, r.duration, r.error, r.finished_at,
	ARRAY(SELECT l.message FROM jobsched.run_logs l WHERE l.run_id = r.run_id AND l.level = 'warning' ORDER BY l.seq) AS warnings
FROM jobsched.runs r
WHERE r.owner = current_user AND r.job_name IN ('wishlist-sale-check', 'wishlist-stock-check')
ORDER BY r.run_id DESC;

-- Runs a check, waits for it, and returns its result: CALL wishlist.check_now('sale').
-- It commits before it waits, so it sets no search_path.
CREATE OR REPLACE PROCEDURE wishlist.check_now(check_kind text, args jsonb DEFAULT NULL, INOUT result jsonb DEFAULT NULL)
LANGUAGE plpgsql AS $$
DECLARE
	run bigint := jobsched.trigger(pg_catalog.format('wishlist-%s-check', check_kind), args);
	outcome text;
BEGIN
	COMMIT;
	CALL jobsched.wait_run(run, '10 min', outcome);
	SELECT coalesce(r.result, pg_catalog.jsonb_build_object('status', r.status, 'error', r.error)) INTO result
	FROM jobsched.runs r WHERE r.run_id OPERATOR(pg_catalog.=) run;
END $$;

-- Sample rows: 60 customers, of whom one has no address and one a wrong one;
-- 20 products, every fourth on sale and every fifth just restocked; everybody
-- wants a third of them.

INSERT INTO wishlist.customers (customer_id, name, email)
SELECT c, 'Customer ' || c,
	CASE c WHEN 13 THEN NULL WHEN 42 THEN 'customer42.example.com' ELSE format('customer%s@example.com', c) END
FROM generate_series(1, 60) AS c
ON CONFLICT DO NOTHING;

INSERT INTO wishlist.products (product_id, name, list_price, sale_price, stock, on_sale_since, in_stock_since)
SELECT p, 'Product ' || p, 10 * p, CASE WHEN p % 4 = 0 THEN 8 * p END, 3 * p,
	CASE WHEN p % 4 = 0 THEN timestamptz '2026-02-01 09:00+00' END,
	CASE WHEN p % 5 = 0 THEN timestamptz '2026-02-02 10:30+00' ELSE timestamptz '2025-11-01 00:00+00' END
FROM generate_series(1, 20) AS p
ON CONFLICT DO NOTHING;

INSERT INTO wishlist.items (customer_id, product_id, added_at)
SELECT c, p, timestamptz '2026-01-10 12:00+00'
FROM generate_series(1, 60) AS c CROSS JOIN generate_series(1, 20) AS p
WHERE (c + p) % 3 = 0
ON CONFLICT DO NOTHING;

-- Jobs

SELECT jobsched.create_job(
	name => 'wishlist-sale-check',
	schedule => '0 * * * *',
	timezone => 'America/New_York',
	handler => 'wishlist.sale_check',
	args => '{"batch_size": 500}',
	enabled => (SELECT s.enabled FROM wishlist.settings s WHERE s.job_name = 'wishlist-sale-check'),
	description => 'tells customers of sales on their wishlist',
	if_exists => 'update') AS wishlist_sale_check;

SELECT jobsched.create_job(
	name => 'wishlist-stock-check',
	schedule => '*/30 * * * *',
	timezone => 'America/New_York',
	handler => 'wishlist.stock_check',
	args => '{"batch_size": 500}',
	enabled => (SELECT s.enabled FROM wishlist.settings s WHERE s.job_name = 'wishlist-stock-check'),
	description => 'tells customers of wishlist items that are back in stock',
	if_exists => 'update') AS wishlist_stock_check;

-- One request a notification, with the same Idempotency-Key at each attempt.
CREATE OR REPLACE FUNCTION wishlist.apply_delivery() RETURNS trigger
LANGUAGE plpgsql SET search_path = wishlist, pg_temp AS $$
BEGIN
	IF NEW.url IS NOT NULL THEN
		PERFORM jobsched.create_job(
			name => 'wishlist-notify',
			url => NEW.url,
			body => '{"notification": "{{args.notification_id}}", "to": "{{args.address}}", "text": "{{args.message}}"}',
			max_concurrency => 10,
			on_success => 'wishlist.note_delivery',
			on_failure => 'wishlist.take_back',
			description => 'tells one customer',
			if_exists => 'update');
	ELSIF EXISTS (SELECT FROM jobsched.jobs j WHERE j.name = 'wishlist-notify' AND j.owner = current_user) THEN
		PERFORM jobsched.drop_job('wishlist-notify');
	END IF;
	RETURN NULL;
END $$;

CREATE OR REPLACE TRIGGER apply_delivery AFTER UPDATE OF url ON wishlist.delivery
FOR EACH ROW EXECUTE FUNCTION wishlist.apply_delivery();

-- puts the job in force
UPDATE wishlist.delivery SET url = url WHERE url IS NOT NULL;

-- Alerts

CREATE OR REPLACE FUNCTION wishlist.apply_watch() RETURNS trigger
LANGUAGE plpgsql SET search_path = wishlist, pg_temp AS $$
BEGIN
	IF NEW.mail_to IS NOT NULL THEN
		PERFORM jobsched.set_channel('wishlist-mail', 'email', to_address => NEW.mail_to);
		PERFORM jobsched.set_alert('wishlist-checks', '{wishlist-mail}', '{wishlist-*-check}',
			late => '10 min', group_for => NEW.alert_delay);
		PERFORM jobsched.set_alert('wishlist-deliveries', '{wishlist-mail}', '{wishlist-notify}',
			every_failure => true, group_for => NEW.alert_delay);
	ELSE
		PERFORM jobsched.drop_alert(a.name)
		FROM (SELECT DISTINCT name FROM jobsched.alerts
			WHERE name IN ('wishlist-checks', 'wishlist-deliveries') AND owner = current_user) a;
		PERFORM jobsched.drop_channel(c.name)
		FROM jobsched.channels c WHERE c.name = 'wishlist-mail' AND c.owner = current_user;
	END IF;
	RETURN NULL;
END $$;

CREATE OR REPLACE TRIGGER apply_watch AFTER UPDATE ON wishlist.watch
FOR EACH ROW EXECUTE FUNCTION wishlist.apply_watch();

-- puts the alerts in force
UPDATE wishlist.watch SET one = one WHERE mail_to IS NOT NULL;

COMMIT;
