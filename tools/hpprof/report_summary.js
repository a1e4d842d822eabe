/* What leaks, and where the resident memory is: the first that a reader wants to know. */
const LEAST_SHOWN = 8;

const accountLine = /^account (\w+): (-?\d+) bytes, /;

/* The account in a profile's comments, by key; null where it has none, or several as merged ones. */
function accountOf(shot) {
    const found = {};
    for (const comment of data.shots[shot].comments) {
        const parts = accountLine.exec(comment);
        if (parts && parts[1] in found)
            return null;
        if (parts)
            found[parts[1]] = Number(parts[2]);
    }
    return found.resident > 0 ? found : null;
}

/* What was never written or is swapped out is live but not resident: that is taken off what was asked for first. */
function partsOf(account) {
    const away = -account.untouched, live = Math.max(0, account.requested - away);
    const rounding = Math.max(0, account.rounding - Math.max(0, away - account.requested));
    const profiler = Math.min(account.tables, account.profiler || 0);
    return [
        {key: "live", bytes: live, text: "Live", why: "asked for by the program and not freed" +
            (away > 0 ? "; beside it " + formatBytes(away) + " that were never written, or are swapped out" : "")},
        {key: "rounding", bytes: rounding, text: "Slack of size classes", why: "blocks are a little larger than what was asked for"},
        {key: "slabs", bytes: account.slabs, text: "Fragmentation",
            why: "free room between live objects, which cannot go back: the pinned profile says who holds it"},
        {key: "caches", bytes: account.caches + account.central, text: "Caches", why: "free objects, kept at hand for threads"},
        {key: "pages", bytes: account.pages, text: "Free pages", why: "kept for what comes next; they go back as they stay unused"},
        {key: "profiler", bytes: profiler, text: "Profiler", why: "its samples and their stacks"},
        {key: "tables", bytes: account.tables - profiler, text: "Allocator", why: "its own tables"},
        {key: "other", bytes: Math.max(0, account.other), text: "Not the allocator\u2019s", why: "code, stacks, files and other mappings"}
    ];
}

function drawAccount() {
    const account = accountOf(state.shot), bar = $("bar"), list = $("parts");
    bar.replaceChildren();
    list.replaceChildren();
    bar.hidden = list.hidden = account === null;
    $("account-note").textContent = account === null
        ? "This profile does not say where the resident memory is; those that hpmalloc writes in pprof\u2019s format do, but for those of a peak or a change."
        : "Resident memory of the process: " + formatBytes(account.resident) + (isMany ? ", at " + shotName(state.shot) : "") + ".";
    if (account === null)
        return;
    const old = isDiff() ? accountOf(state.base) : null, oldParts = old && partsOf(old);
    const parts = partsOf(account), sum = parts.reduce(function (all, part) { return all + part.bytes; }, 0);
    bar.setAttribute("aria-label", parts.map(function (part) { return part.text + " " + percent(part.bytes, sum); }).join(", "));
    parts.forEach(function (part, i) {
        const piece = element("span"), item = element("li"), swatch = element("span", "", "swatch");
        piece.style.width = 100 * part.bytes / sum + "%";
        piece.title = part.text + ": " + formatBytes(part.bytes);
        piece.style.background = swatch.style.background = "var(--part-" + part.key + ")";
        bar.append(piece);
        item.append(swatch, element("b", part.text), " " + formatBytes(part.bytes) + ", " + percent(part.bytes, sum));
        if (oldParts) {
            const change = part.bytes - oldParts[i].bytes;
            item.append(" (", element("span", formatBytes(change, true), change > 0 ? "more" : change < 0 ? "less" : ""), ")");
        }
        item.append(element("small", part.why));
        list.append(item);
    });
}

/* The innermost function, and who called it. */
function chainOf(call) {
    const callers = ancestorsOf(call).reverse().filter(function (each) { return each !== 0; });
    const shownCallers = callers.slice(0, 4).map(function (each) { return names[nameOf[each]]; });
    return shownCallers.length === 0 ? "" : "called by " + shownCallers.join(" \u2190 ") + (callers.length > 4 ? " \u2190 \u2026" : "");
}

/* Zooms to the outermost caller of which the stack is half or more, so that the stack is to be seen. */
function showCall(call) {
    $("search").value = "";
    state.found = null;
    const cum = shown().cum;
    let top = call;
    while (top !== 0 && callerOf[top] !== 0 && cum[callerOf[top]] <= 2 * cum[call])
        top = callerOf[top];
    state.zoom = top;
    pick(call);
    drawFound();
    drawFlame();
    drawTable();
    $("flame-title").scrollIntoView();
    const box = boxes.find(function (each) { return each.call === call; });
    $("flame").scrollTop = box ? Math.max(0, (box.row - 4) * ROW) : 0;
    canvas.focus({preventScroll: true});
}

function showFunction(name) {
    searchFor("^" + literal(names[name]) + "$");
    $("table-title").scrollIntoView();
    const button = $("rows").querySelector("td button");
    if (button)
        button.focus({preventScroll: true});
}

function sparkline(values) {
    const most = Math.max(1, ...values), picture = svg("svg", {viewBox: "0 0 90 24", class: "spark", "aria-hidden": "true"});
    const places = trendPlaces();
    picture.append(svg("polyline", {
        points: values.map(function (value, i) { return (2 + 86 * places[i]).toFixed(1) + "," + (22 - 20 * value / most).toFixed(1); }).join(" "),
        fill: "none", stroke: "currentColor", "stroke-width": 2
    }));
    return picture;
}

function findingOf(finding, verdict, sentence) {
    const item = element("li"), head = element("div"), links = element("p", undefined, "links");
    const badge = element("span", verdict, "verdict"), name = element("a", names[nameOf[finding.call]], "function");
    const inTable = element("a", "in the table");
    badge.dataset.verdict = verdict;
    name.href = "#call-" + finding.call;
    inTable.href = "#function-" + nameOf[finding.call];
    name.title = "Show this stack in the flame graph";
    head.append(badge, element("b", formatBytes(finding.bytes)), name);
    if (finding.values)
        head.append(sparkline(finding.values));
    links.append(chainOf(finding.call), " ", inTable);
    item.append(head, element("p", sentence), links);
    return item;
}

function sentenceOfSuspect(suspect) {
    const begin = suspect.usual > 0
        ? "Of " + suspect.freed.toLocaleString("en") + " objects freed there, 99 % lived less than " + formatTime(suspect.usual) +
            "; these are four times as old or more"
        : "None was ever freed, and more keep coming";
    return begin + ", the oldest " + formatTime(suspect.oldest) + ".";
}

function putFindings(findings, isLeast) {
    findings.forEach(function (finding, i) {
        finding.hidden = !isLeast(i);
        $("findings").append(finding);
    });
    const left = findings.filter(function (finding) { return finding.hidden; }).length, button = $("all-findings");
    button.hidden = left === 0;
    button.textContent = "Show the other " + left;
    button.addEventListener("click", function () {
        const first = $("findings").querySelector("li[hidden] a");
        for (const finding of findings)
            finding.hidden = false;
        button.hidden = true;
        first.focus();
    });
}

function drawVerdicts() {
    const verdicts = data.verdicts;
    $("said").textContent = data.shots.length + " snapshots over " + formatTime(verdicts.seconds * 1e9) + ", " +
        verdicts.count + " stacks: " + verdicts.said + ".";
    const isLeast = verdicts.stacks.map(function (each, i) {
        return each.verdict === "LEAK" || (i < LEAST_SHOWN && each.verdict !== "NOT ENOUGH DATA");
    });
    putFindings(verdicts.stacks.map(function (each) {
        const reason = each.reason.charAt(0).toUpperCase() + each.reason.slice(1) + ".";
        return findingOf(each, each.verdict, reason);
    }), function (i) { return isLeast[i]; });
}

/* The stacks that hold most, where nothing is known of how they came to it. */
function drawHolders() {
    const now = sums(last, data.type), found = [];
    if (data.types[data.type].unit !== "bytes")
        return;
    for (let call = 1; call < calls; call++) {
        if (now.self[call] >= 0.05 * now.total && now.self[call] > 0)
            found.push({call: call, bytes: now.self[call]});
    }
    found.sort(function (a, b) { return b.bytes - a.bytes; });
    putFindings(found.slice(0, 3).map(function (each) {
        return findingOf(each, "HOLDS", percent(each.bytes, now.total) + " of all; whether it grows, one moment does not tell.");
    }), function () { return true; });
}

/* Too few snapshots for verdicts: what can be said, and what to give for more. */
function drawSuspects() {
    const more = "Three snapshots or more of one process tell leaks from peaks: take them with hpprof dump, or HPMALLOC_DUMP_EVERY=10s.";
    if (data.suspects === null) {
        $("said").textContent = more + " One alone names suspects if it was taken with HPMALLOC_DUMP_LABELS=age.";
        drawHolders();
        return;
    }
    $("said").textContent = (data.suspects.length === 0 ? "No stack is suspected of a leak by the age of its memory. "
        : "Suspects, by the age of their memory. ") + more;
    putFindings(data.suspects.map(function (each) { return findingOf(each, "SUSPECT", sentenceOfSuspect(each)); }),
        function (i) { return i < LEAST_SHOWN; });
    if (data.suspects.length === 0)
        drawHolders();
}

/* Links within the page, also when it is opened by one. */
function followLink() {
    const parts = /^#(call|function)-(\d+)$/.exec(location.hash), number = parts ? Number(parts[2]) : 0;
    if (parts && parts[1] === "call" && number > 0 && number < calls)
        showCall(number);
    else if (parts && number > 0 && number < names.length)
        showFunction(number);
}

/* The same link may be followed twice. */
function onLink(event) {
    const link = event.target.closest("a");
    if (!link)
        return;
    event.preventDefault();
    history.replaceState(null, "", link.hash);
    followLink();
}

function onFindingsKey(event) {
    const links = Array.from($("findings").querySelectorAll("li:not([hidden]) .function")), at = links.indexOf(event.target);
    const to = links[at + {ArrowDown: 1, ArrowUp: -1}[event.key]];
    if (at < 0 || !to)
        return;
    event.preventDefault();
    to.focus();
}

function beginSummary() {
    (data.verdicts === null ? drawSuspects : drawVerdicts)();
    $("findings").addEventListener("click", onLink);
    $("findings").addEventListener("keydown", onFindingsKey);
    window.addEventListener("hashchange", followLink);
}
