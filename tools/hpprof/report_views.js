/* The flame graph, the chart, the table, and what happens on keys and clicks. */
const ROW = 20, ROWS_MAX = 400, ANCESTORS = 8;
const canvas = $("canvas"), tip = $("tip");
let boxes = [];

function ancestorsOf(call) {
    const found = [];
    for (let at = call; at !== 0;) {
        at = callerOf[at];
        found.unshift(at);
    }
    return found;
}

/* Boxes wide enough to be seen: the callers of the call that is zoomed into, and all below it. */
function layOut(width) {
    const cum = shown().cum, made = [];
    const above = ancestorsOf(state.zoom).slice(-ANCESTORS);
    above.forEach(function (call, row) { made.push({call: call, x: 0, width: width, row: row, isAbove: true}); });
    const scale = cum[state.zoom] > 0 ? width / cum[state.zoom] : 0;
    const waiting = [{call: state.zoom, x: 0, width: width, row: above.length}];
    while (scale > 0 && waiting.length > 0) {
        const box = waiting.pop();
        made.push(box);
        let x = box.x;
        if (box.row + 1 >= ROWS_MAX)
            continue;
        for (const callee of heaviestCallees(box.call, cum)) {
            const wide = cum[callee] * scale;
            if (wide < 0.4)
                break;
            waiting.push({call: callee, x: x, width: wide, row: box.row + 1});
            x += wide;
        }
    }
    return made;
}

function hueOf(name) {
    let hash = 7;
    for (let i = 0; i < name.length; i++)
        hash = (hash * 31 + name.charCodeAt(i)) >>> 0;
    return 12 + hash % 42;
}

/* From 0, for a second at most, to 1 for the oldest: by the number of its digits. */
function ageShare(ns, oldest) {
    const scale = function (age) { return Math.log(Math.max(1, age / 1e9)); };
    return oldest > 1e9 ? scale(ns) / scale(oldest) : 0;
}

function paint() {
    const style = getComputedStyle(document.documentElement);
    const value = function (name) { return style.getPropertyValue("--" + name).trim(); };
    const isByChange = isDiff() && state.colour === "change", byAge = state.colour === "age" ? ages(state.shot) : null;
    const cum = shown().cum, old = isByChange ? before().cum : null;
    const mix = function (call) {
        const change = cum[call] - old[call], most = Math.max(cum[call], old[call]);
        const share = most > 0 ? Math.round(100 * Math.min(1, Math.abs(change) / most)) : 0;
        return "color-mix(in srgb, " + value(change > 0 ? "more" : "less") + " " + share * 0.75 + "%, " + value("same") + ")";
    };
    const warm = function (call) {
        return "hsl(" + hueOf(names[nameOf[call]]) + " " + value("frame-saturation") + " " + value("frame-lightness") + ")";
    };
    const aged = function (call) {
        return "color-mix(in srgb, " + value("old") + " " + Math.round(80 * ageShare(byAge.cum[call], byAge.oldest)) + "%, " + value("young") + ")";
    };
    return {
        ink: value("frame-ink"), ground: value("panel"), edge: value("ink"),
        fill: function (call) {
            if (state.found && state.found[nameOf[call]])
                return value("found");
            return byAge ? aged(call) : isByChange ? mix(call) : warm(call);
        }
    };
}

function cutText(context, text, width) {
    const most = Math.floor(width / 6.2);
    if (text.length > most * 2)
        text = text.slice(0, most * 2);
    if (context.measureText(text).width <= width)
        return text;
    let low = 0, high = text.length;
    while (low < high) {
        const middle = (low + high + 1) >> 1;
        if (context.measureText(text.slice(0, middle) + "…").width <= width)
            low = middle;
        else
            high = middle - 1;
    }
    return low < 2 ? "" : text.slice(0, low) + "…";
}

function drawFlame() {
    const width = $("flame").clientWidth, density = window.devicePixelRatio || 1;
    boxes = layOut(width);
    const rows = boxes.reduce(function (most, box) { return Math.max(most, box.row + 1); }, 1);
    canvas.width = Math.round(width * density);
    canvas.height = Math.round(rows * ROW * density);
    canvas.style.height = rows * ROW + "px";
    const context = canvas.getContext("2d"), paints = paint();
    context.scale(density, density);
    context.font = "12px ui-monospace, Menlo, Consolas, 'DejaVu Sans Mono', monospace";
    context.textBaseline = "middle";
    for (const box of boxes) {
        const wide = Math.max(box.width - (box.width > 2 ? 1 : 0), 0.4);
        context.globalAlpha = box.isAbove ? 0.55 : 1;
        context.fillStyle = paints.fill(box.call);
        context.fillRect(box.x, box.row * ROW, wide, ROW - 1);
        if (box.call === state.picked) {
            context.strokeStyle = paints.edge;
            context.lineWidth = 2;
            context.strokeRect(box.x + 1, box.row * ROW + 1, Math.max(wide - 2, 1), ROW - 3);
        }
        context.globalAlpha = 1;
        if (box.width > 24) {
            context.fillStyle = paints.ink;
            context.fillText(cutText(context, names[nameOf[box.call]], box.width - 8), box.x + 4, box.row * ROW + ROW / 2);
        }
    }
    $("back").disabled = state.zoom === 0;
}

function sentenceOf(call) {
    const now = shown(), value = now.cum[call];
    let text = names[nameOf[call]] + ": " + format(value, state.type) + ", " + percent(value, now.total) + " of all";
    if (now.self[call] > 0 && now.self[call] < value)
        text += "; in itself " + format(now.self[call], state.type);
    if (isDiff())
        text += "; change " + formatChange(value - before().cum[call], state.type);
    const age = ages(state.shot);
    if (age && age.cum[call] > 0)
        text += "; age " + formatTime(age.cum[call]);
    return text + (data.files[nameOf[call]] ? "; " + data.files[nameOf[call]] : "");
}

function pick(call) {
    state.picked = call;
    $("picked").textContent = call < 0 ? "" : sentenceOf(call);
}

function zoomTo(call) {
    state.zoom = call;
    pick(call);
    drawFlame();
}

function boxAt(event) {
    const place = canvas.getBoundingClientRect(), x = event.clientX - place.left;
    const row = Math.floor((event.clientY - place.top) / ROW);
    return boxes.find(function (box) { return box.row === row && x >= box.x && x < box.x + box.width; });
}

function hover(event) {
    const box = boxAt(event);
    tip.hidden = !box;
    if (!box)
        return;
    tip.textContent = sentenceOf(box.call);
    const area = $("flame"), place = area.getBoundingClientRect(), x = event.clientX - place.left;
    tip.style.left = Math.max(0, Math.min(x + 12, area.clientWidth - tip.offsetWidth)) + "px";
    const below = event.clientY - place.top + area.scrollTop + 16;
    const isRoom = below + tip.offsetHeight <= area.scrollTop + area.clientHeight;
    tip.style.top = (isRoom ? below : Math.max(0, below - tip.offsetHeight - 28)) + "px";
}

function walk(key) {
    const cum = shown().cum, at = state.picked < 0 ? state.zoom : state.picked;
    const siblings = at === 0 ? [0] : heaviestCallees(callerOf[at], cum), index = siblings.indexOf(at);
    const to = {
        ArrowUp: callerOf[at], ArrowDown: heaviestCallees(at, cum)[0],
        ArrowLeft: siblings[index - 1], ArrowRight: siblings[index + 1]
    }[key];
    if (to === undefined)
        return;
    const isInside = to === state.zoom || ancestorsOf(to).includes(state.zoom);
    if (!isInside)
        state.zoom = callerOf[to];
    pick(to);
    drawFlame();
}

function onFlameKey(event) {
    if (event.key.startsWith("Arrow"))
        walk(event.key);
    else if (event.key === "Enter" && state.picked >= 0)
        zoomTo(state.picked);
    else if (event.key === "Backspace")
        zoomTo(callerOf[state.zoom]);
    else
        return;
    event.preventDefault();
}

function drawLegend() {
    const legend = $("legend");
    legend.textContent = "A box is as wide as what was allocated in a function and in what it called, which stands below it. ";
    let meanings = [];
    if (isDiff() && state.colour === "change") {
        legend.append("Since profile " + shotName(state.base) + ":");
        meanings = [["more", "more"], ["less", "less"], ["same", "the same"]];
    } else if (state.colour === "age") {
        legend.append("How old what is in use is:");
        meanings = [["young", "1 s or less"], ["old", formatTime(ages(state.shot).oldest)]];
    }
    for (const [colour, text] of meanings) {
        const swatch = element("span", "", "swatch");
        swatch.style.background = "var(--" + colour + ")";
        legend.append(swatch, text);
    }
}

function drawTotals() {
    $("totals").replaceChildren();
    data.types.forEach(function (type, i) {
        const now = sums(state.shot, i), old = sums(state.base, i), row = element("div"), value = element("dd");
        value.textContent = now.isKnown ? format(now.total, i) : "not in it";
        if (isDiff() && now.isKnown && old.isKnown) {
            const change = now.total - old.total;
            value.append(element("small", formatChange(change, i), change > 0 ? "more" : "less"));
        }
        row.append(element("dt", typeName(type.type)), value);
        $("totals").append(row);
    });
}

function svg(tag, attributes, text) {
    const made = document.createElementNS($("lines").namespaceURI, tag);
    for (const name in attributes)
        made.setAttribute(name, attributes[name]);
    if (text !== undefined)
        made.textContent = text;
    return made;
}

/* The total, and the functions whose own allocations changed most. */
function trendLines() {
    const all = data.shots.map(function (shot, i) { return sums(i, state.type); });
    const change = function (name) { return Math.abs(all[last].flat[name] - all[0].flat[name]); };
    const top = names.map(function (name, i) { return i; }).filter(change)
        .sort(function (a, b) { return change(b) - change(a); }).slice(0, 4);
    const lines = [{text: "total", values: all.map(function (each) { return each.total; })}];
    for (const name of top)
        lines.push({text: names[name], values: all.map(function (each) { return each.flat[name]; })});
    return lines;
}

/* Where each profile stands between 0 and 1: by its time where all have one. */
function trendPlaces() {
    const times = data.shots.map(function (shot) { return shot.ms; }), span = times[last] - times[0];
    const isTimed = span > 0 && times.every(function (ms) { return ms > 0; });
    return times.map(function (ms, i) { return isTimed ? (ms - times[0]) / span : i / last; });
}

function drawTrend() {
    $("trend").hidden = !isMany;
    if (!isMany)
        return;
    const width = $("chart").clientWidth, height = 220, left = 78, right = 12, top = 12, bottom = 26;
    const lines = trendLines(), places = trendPlaces(), area = $("lines"), key = $("key");
    const most = Math.max(1, ...lines.flatMap(function (line) { return line.values; }));
    const x = function (i) { return left + places[i] * (width - left - right); };
    const y = function (value) { return top + (1 - value / most) * (height - top - bottom); };
    area.setAttribute("viewBox", "0 0 " + width + " " + height);
    area.replaceChildren();
    key.replaceChildren();
    for (const share of [0, 0.5, 1]) {
        area.append(svg("line", {x1: left, x2: width - right, y1: y(most * share), y2: y(most * share), stroke: "var(--rule)"}));
        area.append(svg("text", {x: left - 8, y: y(most * share) + 4, "text-anchor": "end"}, format(most * share, state.type)));
    }
    const clock = function (i) { return data.shots[i].time.slice(11, 19) || "profile " + (i + 1); };
    area.append(svg("text", {x: left, y: height - 6}, clock(0)));
    area.append(svg("text", {x: width - right, y: height - 6, "text-anchor": "end"}, clock(last)));
    lines.forEach(function (line, k) {
        const colour = "var(--line-" + k + ")", item = element("li"), swatch = element("span", "", "swatch");
        const points = line.values.map(function (value, i) { return x(i).toFixed(1) + "," + y(value).toFixed(1); });
        area.append(svg("polyline", {points: points.join(" "), fill: "none", stroke: colour, "stroke-width": k ? 1.5 : 2.5}));
        line.values.forEach(function (value, i) {
            const dot = svg("circle", {cx: x(i), cy: y(value), r: 3.5, fill: colour});
            dot.append(svg("title", {}, line.text + ", " + shotName(i) + ": " + format(value, state.type)));
            area.append(dot);
        });
        swatch.style.background = colour;
        item.append(swatch, line.text + " " + formatChange(line.values[last] - line.values[0], state.type));
        key.append(item);
    });
}

const columns = [
    {key: "flat", text: "flat"}, {key: "flatShare", text: "flat %", isShare: true},
    {key: "cum", text: "cum"}, {key: "cumShare", text: "cum %", isShare: true},
    {key: "change", text: "change of flat", isChange: true}, {key: "cumChange", text: "of cum", isChange: true},
    {key: "age", text: "age", isAge: true}, {key: "name", text: "function"}
];

function shownColumns() {
    const hasAges = ages(state.shot) !== null;
    return columns.filter(function (column) { return (!column.isChange || isDiff()) && (!column.isAge || hasAges); });
}

function tableRows() {
    const now = shown(), old = isDiff() ? before() : now, age = ages(state.shot), rows = [];
    for (let i = 1; i < names.length; i++) {
        if ((state.found && !state.found[i]) || (now.all[i] === 0 && old.all[i] === 0))
            continue;
        rows.push({
            index: i, name: names[i], flat: now.flat[i], cum: now.all[i], flatShare: now.flat[i],
            cumShare: now.all[i], change: now.flat[i] - old.flat[i], cumChange: now.all[i] - old.all[i],
            age: age ? age.flat[i] : 0
        });
    }
    const key = state.sort, sign = state.isRising ? 1 : -1;
    return rows.sort(function (a, b) {
        const order = key === "name" ? a.name.localeCompare(b.name) : a[key] - b[key];
        return sign * order || b.cum - a.cum || a.index - b.index;
    });
}

function drawHead() {
    $("head").replaceChildren();
    for (const column of shownColumns()) {
        const cell = element("th", undefined, column.isShare ? "share" : ""), button = element("button", column.text);
        const isSorted = state.sort === column.key;
        cell.setAttribute("aria-sort", !isSorted ? "none" : state.isRising ? "ascending" : "descending");
        cell.scope = "col";
        button.type = "button";
        button.textContent += isSorted ? state.isRising ? " ▲" : " ▼" : "";
        button.addEventListener("click", function () {
            state.isRising = isSorted ? !state.isRising : column.key === "name";
            state.sort = column.key;
            drawTable();
            $("head").querySelectorAll("button")[shownColumns().indexOf(column)].focus();
        });
        cell.append(button);
        $("head").append(cell);
    }
}

function cellOf(column, row) {
    const total = shown().total, value = row[column.key];
    if (column.isShare)
        return element("td", percent(value, total), "share");
    if (column.isChange)
        return element("td", formatChange(value, state.type), value > 0 ? "more" : value < 0 ? "less" : "");
    if (column.isAge)
        return element("td", value > 0 ? formatTime(value) : "");
    if (column.key !== "name")
        return element("td", format(value, state.type));
    const cell = element("td"), button = element("button", row.name);
    button.type = "button";
    button.addEventListener("click", function () {
        searchFor(literal(row.name));
    });
    cell.append(button);
    if (data.files[row.index])
        cell.append(element("small", data.files[row.index]));
    return cell;
}

function drawTable() {
    const rows = tableRows(), body = document.createDocumentFragment();
    drawHead();
    for (const row of rows.slice(0, state.rows)) {
        const line = element("tr");
        for (const column of shownColumns())
            line.append(cellOf(column, row));
        body.append(line);
    }
    $("rows").replaceChildren(body);
    $("more").hidden = rows.length <= state.rows;
    $("more").textContent = "Show more: " + (rows.length - state.rows) + " are left";
}

function drawFiles() {
    for (const [i, shot] of data.shots.entries()) {
        const list = element("ul");
        for (const comment of shot.comments.filter(function (each) { return !accountLine.test(each); }))
            list.append(element("li", comment));
        $("files").append(element("h3", (i + 1) + ": " + shot.file + (shot.time ? ", " + shot.time : "")), list);
    }
}

function searchFor(expression) {
    $("search").value = expression;
    search();
}

function search() {
    state.found = findNames($("search").value.trim());
    state.rows = 100;
    drawFound();
    drawFlame();
    drawTable();
}

function drawFound() {
    const value = state.found ? foundValue() : 0, count = state.found ? state.found.filter(Boolean).length : 0;
    $("found").textContent = !state.found ? "" : count === 0 ? "nothing found" :
        count + " found, in stacks that hold " + format(value, state.type) + ", " + percent(value, shown().total);
}

/* Of the colours, those that this profile has; the one chosen stays chosen while it is among them. */
function drawColours() {
    const is = {change: isDiff(), name: true, age: ages(state.shot) !== null};
    for (const option of $("colour").options)
        option.hidden = option.disabled = !is[option.value];
    state.colour = is[state.wanted] ? state.wanted : is.change ? "change" : "name";
    $("colour").value = state.colour;
    $("colour-label").hidden = !is.change && !is.age;
}

function drawAll() {
    if (shown().cum[state.zoom] === 0)
        state.zoom = 0;
    pick(state.picked);
    $("when").textContent = (data.shots[state.shot].time || data.shots[state.shot].file) +
        (isMany ? "; " + data.shots.length + " profiles" : "");
    drawColours();
    drawAccount();
    drawTotals();
    drawLegend();
    drawFound();
    drawFlame();
    drawTrend();
    drawTable();
}

function fill(select, texts, chosen) {
    texts.forEach(function (text, i) {
        const option = element("option", text);
        option.value = i;
        select.append(option);
    });
    select.value = chosen;
}

function onKey(event) {
    const isTyping = /^(INPUT|SELECT)$/.test(event.target.tagName);
    if (event.key === "/" && !isTyping) {
        event.preventDefault();
        $("search").focus();
    } else if (event.key === "Escape") {
        $("search").value = "";
        zoomTo(0);
        search();
    }
}

function begin() {
    $("program").textContent = data.program;
    fill($("type"), data.types.map(function (type) { return typeName(type.type); }), state.type);
    fill($("shot"), data.shots.map(function (shot, i) { return shotName(i); }), state.shot);
    fill($("base"), data.shots.map(function (shot, i) { return shotName(i); }), state.base);
    $("shot-label").hidden = $("base-label").hidden = !isMany;
    for (const id of ["type", "shot", "base"]) {
        $(id).addEventListener("change", function () {
            state[id] = Number($(id).value);
            drawAll();
        });
    }
    $("colour").addEventListener("change", function () {
        state.wanted = $("colour").value;
        drawAll();
    });
    $("controls").addEventListener("submit", function (event) { event.preventDefault(); });
    $("search").addEventListener("input", search);
    $("back").addEventListener("click", function () { zoomTo(0); });
    $("more").addEventListener("click", function () {
        state.rows *= 4;
        drawTable();
    });
    canvas.addEventListener("mousemove", hover);
    canvas.addEventListener("mouseleave", function () { tip.hidden = true; });
    canvas.addEventListener("keydown", onFlameKey);
    canvas.addEventListener("click", function (event) {
        const box = boxAt(event);
        if (box)
            zoomTo(box.call);
    });
    document.addEventListener("keydown", onKey);
    window.addEventListener("resize", function () {
        drawFlame();
        drawTrend();
    });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawFlame);
    drawFiles();
    drawAll();
    beginSummary();
    followLink();
}

begin();
