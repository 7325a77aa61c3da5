// Joins a room of the meeting server, and shows who is there and what they write.

import { Login, head, item, json, report } from "./oidc.js";

const BASE = "/meet/";
const SCOPE = "openid profile email kopano/kwm kopano/gc kopano/kvs";
const VERSION = 20180703;
const CHAT_VERSION = 20201201;
const element = (id) => document.getElementById(id);
const random = () => crypto.randomUUID();

class Meeting {
  constructor(session, group, server) {
    this.session = session;
    this.group = group;
    this.server = server;
    this.names = new Map();
    this.members = [];
    this.sent = 0;
  }

  async join() {
    const me = await json(`${this.server}/api/kwm/v2/rtm/connect`, {
      method: "POST",
      headers: { Authorization: `Bearer ${this.session.token}` },
      body: new URLSearchParams({ auth: "1", id_token: this.session.idToken }),
    });
    this.me = me.self;
    this.names.set(me.self.id, me.self.name);
    this.socket = new WebSocket(new URL(me.url, this.server || location).href.replace(/^http/, "ws"));
    this.socket.onmessage = (event) => this.received(JSON.parse(event.data));
    this.socket.onclose = () => element("meeting").hidden || report(new Error("The connection to the meeting has ended."));
  }

  send(message) {
    this.socket.send(JSON.stringify({ id: ++this.sent, ...message }));
  }

  webrtc(subtype, target, more = {}) {
    this.send({ type: "webrtc", subtype, target, group: this.group, state: random(), v: VERSION, ...more });
  }

  received(message) {
    if (message.type === "hello") this.webrtc("webrtc_group", this.group);
    else if (message.type === "error") report(new Error(message.error.msg));
    else if (message.subtype === "webrtc_channel") this.changed(message);
    else if (message.subtype === "webrtc_call" && message.group === this.group) this.named(message.source, message.profile);
    else if (message.type === "chats") this.said(message);
  }

  // Who is in the room has changed: greet the new ones, so that they learn our name.
  changed(message) {
    this.channel = message.channel;
    this.hash = message.hash || this.hash;
    if (message.data?.replaced) return this.leave("You have joined this room elsewhere.");
    const members = message.data?.group?.members;
    if (!members) return;
    const fresh = members.filter((one) => one !== this.me.id && !this.members.includes(one));
    this.members = members;
    for (const one of fresh) {
      this.webrtc("webrtc_call", one, { channel: this.channel, hash: this.hash, data: { accept: true, state: random() } });
    }
    this.show();
  }

  named(id, profile) {
    this.names.set(id, profile?.name || id);
    this.show();
  }

  show() {
    element("members").replaceChildren();
    for (const one of this.members) item("members", this.names.get(one) || one);
  }

  said(message) {
    const { kind, sender, text } = message.data;
    if (message.profile?.name && sender) this.names.set(sender, message.profile.name);
    if (kind === "system") item("chat", text);
    else if (kind === "") item("chat", `${this.names.get(sender) || sender}: ${text}`);
    this.show();
  }

  say(text) {
    this.send({ type: "chats", subtype: "chats_message", channel: this.channel, v: CHAT_VERSION, data: { text, kind: "" } });
  }

  leave(reason = "") {
    element("meeting").hidden = true;
    this.socket.close();
    history.replaceState(null, "", BASE);
    element("join").hidden = false;
    report(new Error(reason));
  }
}

function open(session, config, group) {
  const meeting = new Meeting(session, group, config.kwm?.url || "");
  element("problem").textContent = "";
  element("chat").replaceChildren();
  element("members").replaceChildren();
  element("room-name").textContent = group.replace(/^group\//, "");
  element("join").hidden = true;
  element("meeting").hidden = false;
  element("leave").onclick = () => meeting.leave();
  element("say").onsubmit = (event) => {
    event.preventDefault();
    meeting.say(element("text").value);
    element("text").value = "";
  };
  history.replaceState(null, "", `${BASE}r/${group.split("/").map(encodeURIComponent).join("/")}`);
  meeting.join().catch((problem) => {
    element("meeting").hidden = true;
    element("join").hidden = false;
    report(problem);
  });
}

// A guest is vouched for by the meeting server, for one room.
async function beginAsGuest(login, config, group, name) {
  const scope = `${login.scope} konnect/guestok`;
  const answer = await json(`${config.kwm?.url || ""}/api/kwm/v2/guest/logon`, {
    method: "POST",
    body: new URLSearchParams({ client_id: login.client, response_type: login.responseType, scope, guest: "1", name, path: group }),
  });
  await login.begin({ ...answer.eqp, scope });
}

async function start() {
  const config = await json("/api/config/v1/kopano/meet/config.json");
  const login = new Login(config, BASE, SCOPE);
  const session = await head(login);
  const path = decodeURIComponent(location.pathname);
  const group = path.startsWith(`${BASE}r/`) ? path.slice(`${BASE}r/`.length) : "";
  if (session) {
    element("join").hidden = false;
    element("join").onsubmit = (event) => {
      event.preventDefault();
      open(session, config, `group/${element("room").value.trim()}`);
    };
    if (group) open(session, config, group);
  } else if (config.guests?.enabled && new RegExp(config.guests.publicGroupRegexp).test(group)) {
    element("guest").hidden = false;
    element("guest").onsubmit = (event) => {
      event.preventDefault();
      beginAsGuest(login, config, group, element("guest-name").value).catch(report);
    };
  }
}

start().catch(report);
