"use strict";
/* The profiles, their sums, and how values are written. Views are in report_views.js. */
const data = JSON.parse(document.getElementById("data").textContent);
const $ = function (id) { return document.getElementById(id); };
const names = data.names, nameOf = data.name, callerOf = data.caller, calls = nameOf.length;
const last = data.shots.length - 1, isMany = last > 0;
const state = {
    type: data.type, shot: last, base: 0, zoom: 0, picked: -1, found: null,
    sort: "flat", isRising: false, rows: 100, wanted: "change", colour: "name"
};

function element(tag, text, className) {
    const made = document.createElement(tag);
    if (text !== undefined)
        made.textContent = text;
    if (className)
        made.className = className;
    return made;
}

const sumsKept = new Map();

/* By call: what was allocated in it, and also in what it called. By function: the same; one that
 * calls itself counts once. */
function sums(shot, type) {
    const key = shot + "/" + type;
    if (sumsKept.has(key))
        return sumsKept.get(key);
    const self = new Float64Array(calls), pair = data.shots[shot].values[type];
    if (pair !== null)
        pair[0].forEach(function (call, i) { self[call] = pair[1][i]; });
    const cum = self.slice();
    for (let i = calls - 1; i > 0; i--)
        cum[callerOf[i]] += cum[i];
    const flat = new Float64Array(names.length), all = new Float64Array(names.length);
    for (let i = 0; i < calls; i++) {
        flat[nameOf[i]] += self[i];
        if (isOutermost[i])
            all[nameOf[i]] += cum[i];
    }
    const made = {self: self, cum: cum, flat: flat, all: all, total: cum[0], isKnown: pair !== null};
    sumsKept.set(key, made);
    return made;
}

const agesKept = new Map();

/* How old live memory is on average, in nanoseconds, by call and by function; null where the profile does not say.
 * A stack's age is the median of its memory. */
function ages(shot) {
    const given = data.shots[shot].ages;
    if (given === null)
        return null;
    if (agesKept.has(shot))
        return agesKept.get(shot);
    const inUse = data.types.findIndex(function (type) { return type.type === "inuse_space"; });
    const bytes = sums(shot, inUse < 0 ? data.type : inUse), own = new Float64Array(calls), count = new Float64Array(calls);
    given[0].forEach(function (call, i) {
        own[call] += given[1][i];
        count[call]++;
    });
    const cum = new Float64Array(calls), flat = new Float64Array(names.length);
    for (let i = calls - 1; i > 0; i--) {
        const all = count[i] > 0 ? bytes.self[i] * own[i] / count[i] : 0;
        cum[i] += all;
        cum[callerOf[i]] += cum[i];
        flat[nameOf[i]] += all;
    }
    const made = {
        cum: cum.map(function (sum, i) { return bytes.cum[i] > 0 ? sum / bytes.cum[i] : 0; }),
        flat: flat.map(function (sum, i) { return bytes.flat[i] > 0 ? sum / bytes.flat[i] : 0; })
    };
    made.oldest = made.cum.reduce(function (most, age) { return Math.max(most, age); }, 0);
    agesKept.set(shot, made);
    return made;
}

const typeWords = {
    inuse_space: "in use, bytes", inuse_objects: "in use, objects",
    alloc_space: "ever allocated, bytes", alloc_objects: "ever allocated, objects"
};

function typeName(type) {
    return Object.hasOwn(typeWords, type) ? typeWords[type] : type;
}

/* Whether no caller of a call is of the same function. */
const isOutermost = (function () {
    const is = new Uint8Array(calls);
    for (let i = 0; i < calls; i++) {
        let at = i;
        while (at !== 0 && nameOf[at = callerOf[at]] !== nameOf[i]);
        is[i] = i === 0 || nameOf[at] !== nameOf[i];
    }
    return is;
})();

/* The callees of call i are callees[firstCallee[i]] to callees[firstCallee[i + 1] - 1]. */
const firstCallee = new Uint32Array(calls + 1), callees = new Uint32Array(calls);
(function () {
    for (let i = 1; i < calls; i++)
        firstCallee[callerOf[i] + 1]++;
    for (let i = 0; i < calls; i++)
        firstCallee[i + 1] += firstCallee[i];
    const next = firstCallee.slice();
    for (let i = 1; i < calls; i++)
        callees[next[callerOf[i]]++] = i;
})();

function heaviestCallees(call, cum) {
    return Array.from(callees.subarray(firstCallee[call], firstCallee[call + 1]))
        .filter(function (callee) { return cum[callee] > 0; })
        .sort(function (a, b) { return cum[b] - cum[a] || a - b; });
}

const units = {
    bytes: {step: 1024, names: ["B", "KiB", "MiB", "GiB", "TiB", "PiB"]},
    nanoseconds: {step: 1000, names: ["ns", "µs", "ms", "s"]}
};

function scaled(value, unit) {
    let at = 0;
    while (at + 1 < unit.names.length && Math.abs(value) >= unit.step) {
        value /= unit.step;
        at++;
    }
    return value.toFixed(at === 0 ? 0 : Math.abs(value) < 10 ? 2 : 1) + " " + unit.names[at];
}

function format(value, type) {
    const unit = units[data.types[type].unit];
    if (!unit)
        return Math.round(value).toLocaleString("en") +
            (data.types[type].unit === "count" ? "" : " " + data.types[type].unit);
    return scaled(value, unit);
}

function percent(value, total) {
    const share = total ? 100 * value / total : 0;
    return (share !== 0 && Math.abs(share) < 1 ? share.toPrecision(2) : share.toFixed(1)) + " %";
}

function formatBytes(value, isChange) {
    const sign = value < 0 ? "\u2212" : isChange ? value > 0 ? "+" : "\u00b1" : "";
    return sign + scaled(Math.abs(value), units.bytes);
}

function formatTime(ns) {
    const steps = [["s", 1e9], ["min", 60e9], ["h", 3600e9], ["days", 86400e9]];
    if (ns < 1e9)
        return (ns / 1e6).toFixed(0) + " ms";
    let at = 0;
    while (at + 1 < steps.length && ns >= 2 * steps[at + 1][1])
        at++;
    return (ns / steps[at][1]).toFixed(1) + " " + steps[at][0];
}

function formatChange(value, type) {
    return (value > 0 ? "+" : value < 0 ? "\u2212" : "\u00b1") + format(Math.abs(value), type);
}

function isDiff() {
    return isMany && state.base !== state.shot;
}

/* Of the profile that is shown, and of the one it is compared with. */
function shown() {
    return sums(state.shot, state.type);
}

function before() {
    return sums(state.base, state.type);
}

function shotName(i) {
    const shot = data.shots[i];
    return (i + 1) + ": " + (shot.time || shot.file.replace(/^.*\//, ""));
}

/* As a regular expression. */
function literal(text) {
    return text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
}

/* Which functions the search means: by name or file; a regular expression where it is one. */
function findNames(text) {
    if (text === "")
        return null;
    let matches;
    try {
        const expression = new RegExp(text, "i");
        matches = function (name) { return expression.test(name); };
    } catch (error) {
        matches = function () { return false; };
    }
    const lower = text.toLowerCase();
    return names.map(function (name, i) {
        return name.toLowerCase().includes(lower) || matches(name) ||
            (data.files[i] !== "" && matches(data.files[i]));
    });
}

/* What all stacks with a found function hold. */
function foundValue() {
    const cum = shown().cum, isIn = new Uint8Array(calls);
    let value = 0;
    for (let i = 1; i < calls; i++) {
        isIn[i] = isIn[callerOf[i]] || state.found[nameOf[i]] ? 1 : 0;
        if (isIn[i] && !isIn[callerOf[i]])
            value += cum[i];
    }
    return value;
}
