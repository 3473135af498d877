-- Values for people who read a terminal, and for programs.

-- A gateway gives an interval as a text, and drivers make texts of numeric.
CREATE FUNCTION jobsched_internal.milliseconds(span interval) RETURNS double precision
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'jobsched_milliseconds';

-- '250 ms', '3.2 s', '4 min 10 s', '2 h 5 min', '3 d 4 h'
CREATE FUNCTION jobsched_internal.time_text(span interval) RETURNS text
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'jobsched_time_text';

-- As much as a terminal shows in so many columns, in one line.
CREATE FUNCTION jobsched_internal.fit(value text, columns integer) RETURNS text
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'jobsched_fit';
