// A server module for tests: ODD.GET reads a key, ODD.SET writes one (replicas get a SET), and so
// does ODD.KEEP (replicas get ODD.KEEP). Declares by hand the few calls of the module interface
// that it needs (redismodule.h; the names are the same in Valkey), so that no header of a server
// has to be installed.
namespace {

struct Context;
struct String;
struct Reply;
using Handler = int (*)(Context*, String**, int);

void (*set_attributes)(Context*, const char* name, int version, int api_version);
int (*create_command)(Context*, const char* name, Handler, const char* flags, int first, int last,
                      int step);
Reply* (*call)(Context*, const char* command, const char* format, ...);
int (*reply_with_call_reply)(Context*, Reply*);
int (*wrong_arity)(Context*);
int (*replicate_verbatim)(Context*);

int get(Context* context, String** arguments, int count) {
    if (count != 2) return wrong_arity(context);
    return reply_with_call_reply(context, call(context, "GET", "s", arguments[1]));
}

int set(Context* context, String** arguments, int count) {
    if (count != 3) return wrong_arity(context);
    return reply_with_call_reply(context, call(context, "SET", "!ss", arguments[1], arguments[2]));
}

int keep(Context* context, String** arguments, int count) {
    if (count != 3) return wrong_arity(context);
    Reply* reply = call(context, "SET", "ss", arguments[1], arguments[2]);
    replicate_verbatim(context);
    return reply_with_call_reply(context, reply);
}

}  // namespace

extern "C" int RedisModule_OnLoad(Context* context, String**, int) {
    // The first word of the context is the function that finds all others.
    using Find = int (*)(const char*, void*);
    const Find find = *reinterpret_cast<Find*>(context);
    find("RedisModule_SetModuleAttribs", &set_attributes);
    find("RedisModule_CreateCommand", &create_command);
    find("RedisModule_Call", &call);
    find("RedisModule_ReplyWithCallReply", &reply_with_call_reply);
    find("RedisModule_WrongArity", &wrong_arity);
    find("RedisModule_ReplicateVerbatim", &replicate_verbatim);
    set_attributes(context, "odd", 1, 1);
    if (create_command(context, "odd.get", get, "readonly", 1, 1, 1) != 0) return 1;
    if (create_command(context, "odd.keep", keep, "write", 1, 1, 1) != 0) return 1;
    return create_command(context, "odd.set", set, "write", 1, 1, 1);
}
